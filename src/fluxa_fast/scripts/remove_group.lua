-- Removes a group of a stream. KEYS[1]: the stream. KEYS[2]: the group's tombstone, which tells running consumers that
-- they must not make the group again. ARGV: the group, and for how many milliseconds the tombstone stays.
-- Returns 1 if there was the group, else 0.
local removed = redis.pcall('XGROUP', 'DESTROY', KEYS[1], ARGV[1])
if failed(removed) and not string.find(removed.err, 'requires the key to exist', 1, true) then
  return removed
end
redis.call('SET', KEYS[2], '1', 'PX', ARGV[2])
return failed(removed) and 0 or removed
