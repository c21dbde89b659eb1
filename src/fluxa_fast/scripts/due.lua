-- Put in front of scripts that look for entries which were left behind. Returns the highest ID that an entry may have
-- which was delivered so many milliseconds ago, or '+'; nil if there is no such group; or an error.
-- A server gives no ID of a time to come, unless its clock was set back. A client may choose such IDs.
local function newest_due(key, group, idle)
  local groups = groups_of(key)
  if failed(groups) then
    return groups
  end
  local own = own_and_others(groups, group)
  if not own then
    return nil
  end
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  if tonumber(string.match(own['last-delivered-id'], '^%d+')) > now then
    return '+'
  end
  return string.format('%.0f', math.max(0, now - idle))
end

-- Returns up to `most` entries that were delivered at least so many milliseconds ago, from `after` on, to other consumers
-- than `name`, as XPENDING lists them; or an error.
local function due_entries(key, group, idle, after, most, name)
  local found = {}
  local newest = newest_due(key, group, idle)
  if not newest or failed(newest) then
    return newest or found
  end
  local size = math.max(most, 100)
  repeat
    local page = redis.call('XPENDING', key, group, 'IDLE', idle, after, newest, size)
    for _, entry in ipairs(page) do
      if entry[2] ~= name and #found < most then
        found[#found + 1] = entry
      end
    end
    if #page == size then
      after = '(' .. page[size][1]
    end
  until #page < size or #found == most
  return found
end
