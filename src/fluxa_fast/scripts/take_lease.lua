-- Takes a partition that no other consumer owns. KEYS[2]: the lease. ARGV: the name of the consumer that calls, and the
-- duration in milliseconds. Returns 1 if the consumer owns the partition now, else 0.
-- KEYS[1], the stream, is named for the time while its slot migrates: a node that has only one of the two keys replies
-- TRYAGAIN, so no consumer can make a second lease at the new node.
local owner = redis.call('GET', KEYS[2])
if owner and owner ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return 1
