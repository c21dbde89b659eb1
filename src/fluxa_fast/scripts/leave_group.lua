-- Removes a consumer from its group, unless entries are pending for it. Returns how many entries are pending.
-- KEYS[1]: the stream. ARGV: the group, the consumer.
-- XINFO CONSUMERS tells each consumer as a flat list of names and values.
local consumers = redis.pcall('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])
if failed(consumers) then
  if string.find(consumers.err, 'NOGROUP', 1, true) or string.find(consumers.err, 'no such key', 1, true) then
    return 0
  end
  return consumers
end
for _, consumer in ipairs(consumers) do
  local fields = fields_of(consumer)
  if fields['name'] == ARGV[2] then
    if fields['pending'] == 0 then
      redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
    end
    return fields['pending']
  end
end
return 0
