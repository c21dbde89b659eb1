-- Put in front of scripts that remove names from a group. Removes those names that `chosen` returns true for, if nothing is
-- pending for them and they have not been heard of for so many milliseconds. A consumer that lives and reads again gets
-- its name back from the server.
local function remove_names(key, group, milliseconds, chosen)
  local consumers = redis.pcall('XINFO', 'CONSUMERS', key, group)
  if failed(consumers) then
    return
  end
  for _, flat in ipairs(consumers) do
    local consumer = fields_of(flat)
    if consumer['pending'] == 0 and consumer['idle'] >= milliseconds and chosen(consumer['name']) then
      redis.pcall('XGROUP', 'DELCONSUMER', key, group, consumer['name']) -- without the right to it, they stay
    end
  end
end
