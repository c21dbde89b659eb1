-- In front of what only the owner of a partition may do. KEYS[2]: its lease. ARGV[1]: who asks; it is taken away here.
if redis.call('GET', KEYS[2]) ~= table.remove(ARGV, 1) then
  return redis.error_reply('FENCED somebody else owns the partition now, or nobody does')
end
