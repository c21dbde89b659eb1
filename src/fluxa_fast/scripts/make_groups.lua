-- Makes groups of a stream, and the stream. KEYS[1]: the stream; then the tombstone of each group, which `remove_group`
-- has left. ARGV[1]: 1 if the first group was there before and is gone. Then the name and the position of each group.
-- The first one is the caller's own: if it has a tombstone and was there before, the script ends with the error REMOVED.
-- Other groups with a tombstone are left out.
for i = 1, #KEYS - 1 do
  local removed = redis.call('GET', KEYS[i + 1]) ~= false
  if removed and i == 1 then
    if ARGV[1] == '1' then
      return redis.error_reply('REMOVED the group ' .. ARGV[2] .. ' was removed by remove_group()')
    end
    redis.call('DEL', KEYS[2])
    removed = false
  end
  if not removed then
    local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[2 * i], ARGV[2 * i + 1], 'MKSTREAM')
    if failed(made) and not string.find(made.err, 'BUSYGROUP', 1, true) then
      return made
    end
  end
end
return redis.status_reply('OK')
