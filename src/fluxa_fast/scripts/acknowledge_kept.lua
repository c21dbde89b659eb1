-- Acknowledges entries, which stay in the stream. KEYS[1]: the stream. ARGV: the group, then the IDs.
-- Returns how many were pending.
local done = 0
for at = 2, #ARGV, 5000 do
  done = done + redis.call('XACK', KEYS[1], ARGV[1], unpack(ARGV, at, math.min(at + 4999, #ARGV)))
end
return done
