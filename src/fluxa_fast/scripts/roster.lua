-- Adds a consumer to the roster and returns the names of all consumers in it, or removes the consumer and returns {}.
-- KEYS[2]: the roster, a sorted set of names by the time until which each is valid. KEYS[1]: the stream; take_lease.lua
-- tells why. ARGV: the name, and for how many milliseconds it is valid; 0 removes it.
local believed = tonumber(ARGV[2])
if believed == 0 then
  -- No command follows: ZREM may have deleted the set, and a slot that migrates answers missing keys with ASK.
  redis.call('ZREM', KEYS[2], ARGV[1])
  return {}
end
if redis.replicate_commands then -- otherwise Redis 6.2 refuses writes after TIME
  redis.replicate_commands()
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[2], now + believed, ARGV[1])
redis.call('PEXPIRE', KEYS[2], 10 * believed)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
return redis.call('ZRANGE', KEYS[2], 0, -1)
