-- Takes a partition, if nobody owns it. KEYS[1]: its lease. ARGV: who asks, and milliseconds. Returns 1 if it is theirs.
-- KEYS[2]: the stream, so that while the slot is on its way nobody makes a second lease at the new node: with two keys,
-- one of which it does not have, that one says TRYAGAIN.
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
