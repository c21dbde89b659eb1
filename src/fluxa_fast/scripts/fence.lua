-- Put in front of a script that only the owner of a partition may run. KEYS[2]: the lease. ARGV[1]: the name of the
-- consumer that calls, which is removed from ARGV here.
if redis.call('GET', KEYS[2]) ~= table.remove(ARGV, 1) then
  return redis.error_reply('FENCED this consumer does not own the partition any more')
end
