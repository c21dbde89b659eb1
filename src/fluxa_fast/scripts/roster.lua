-- Says that a consumer is there, and returns the names of all that are.
-- KEYS[1]: a sorted set of names, by the time until which each is believed. ARGV: the name, and milliseconds; 0: it goes.
if redis.replicate_commands then -- Redis 6.2 would not write anything behind TIME
  redis.replicate_commands()
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local believed = tonumber(ARGV[2])
if believed > 0 then
  redis.call('ZADD', KEYS[1], now + believed, ARGV[1])
  redis.call('PEXPIRE', KEYS[1], 10 * believed)
else
  redis.call('ZREM', KEYS[1], ARGV[1])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
return redis.call('ZRANGE', KEYS[1], 0, -1)
