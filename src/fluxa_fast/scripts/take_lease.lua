-- Takes a partition, if nobody owns it. KEYS[2]: its lease. ARGV: who asks, and milliseconds. Returns 1 if it is theirs.
-- KEYS[1], the stream, is there for a slot that is on its way: a node that has one of two keys says TRYAGAIN, and so
-- nobody makes a second lease at the new node.
local owner = redis.call('GET', KEYS[2])
if owner and owner ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return 1
