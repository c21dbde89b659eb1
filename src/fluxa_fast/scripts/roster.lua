-- Says that a consumer is there, and returns the names of all that are; or that it goes, and returns nothing.
-- KEYS[2]: a sorted set of names, by the time until which each is believed. KEYS[1]: the stream; see take_lease.lua.
-- ARGV: the name, and milliseconds; 0: it goes.
local believed = tonumber(ARGV[2])
if believed == 0 then -- and nothing behind it: an empty set is gone, and a slot that is on its way has no missing keys
  redis.call('ZREM', KEYS[2], ARGV[1])
  return {}
end
if redis.replicate_commands then -- Redis 6.2 would not write anything behind TIME
  redis.replicate_commands()
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[2], now + believed, ARGV[1])
redis.call('PEXPIRE', KEYS[2], 10 * believed)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
return redis.call('ZRANGE', KEYS[2], 0, -1)
