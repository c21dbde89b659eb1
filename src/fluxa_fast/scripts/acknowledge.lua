-- Acknowledges entries, and deletes those that no other group needs: XACK and XDEL, but cheaper, by trimming.
-- KEYS[1]: the stream. ARGV: the group, then the IDs, ascending.
-- Returns the number of other groups of the stream, and the IDs of the entries that stay for these groups.
--
-- XDEL is the most expensive part. But in a group where acknowledged means deleted, every entry below the lowest
-- pending ID has to go, and XTRIM drops whole nodes of entries. The script trims only if the counters prove that no other
-- entry lies there: a group may have begun at $, or SETID may have moved it. In doubt, it deletes the IDs one by one.
local key, group = KEYS[1], ARGV[1]
local first, last = 2, #ARGV
local groups = groups_of(key)
if failed(groups) then
  return groups
end
local PAGE = 5000 -- values that unpack() puts on Lua's stack, which holds about 8000

-- Calls XACK or XDEL with ids[from] to ids[to]. Returns the sum of the replies, or an error.
local function each_page(command, ids, from, to, ...)
  local done = 0
  for at = from, to, PAGE do
    local arguments = {...}
    for i = at, math.min(at + PAGE - 1, to) do
      arguments[#arguments + 1] = ids[i]
    end
    local reply = redis.pcall(command, key, unpack(arguments))
    if failed(reply) then
      return reply
    end
    done = done + reply
  end
  return done
end

-- Returns the index of the first ID that is not less than `mark`.
local function not_below(mark)
  local low, high = first, last + 1
  while low < high do
    local middle = math.floor((low + high) / 2)
    if less(ARGV[middle], mark) then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end

-- Trims entries that this call has acknowledged. Returns the index of the first ID that XDEL still has to delete.
local function trim(own, acknowledged)
  local pending = own['pending'] - acknowledged
  local behind = own['lag'] -- entries that were never delivered; some servers do not tell it, or not always
  if not behind or acknowledged ~= last - first + 1 then
    return first
  end
  local mark
  if pending > 0 then
    local summary = redis.pcall('XPENDING', key, group)
    if failed(summary) or not summary[2] or not less(ARGV[first], summary[2]) then
      return first
    end
    mark = summary[2]
  end
  -- Go on only if every delivered entry in the stream is pending or was acknowledged just now, and if the oldest entry
  -- was acknowledged just now.
  if redis.call('XLEN', key) - behind ~= pending + acknowledged then
    return first
  end
  local oldest = redis.pcall('XRANGE', key, '-', '+', 'COUNT', 1)
  if failed(oldest) or not oldest[1] or oldest[1][1] ~= ARGV[first] then
    return first
  end
  local trimmed
  if mark then
    trimmed = redis.pcall('XTRIM', key, 'MINID', mark)
  else
    trimmed = redis.pcall('XTRIM', key, 'MAXLEN', behind)
  end
  if failed(trimmed) then
    return first
  end
  return mark and not_below(mark) or last + 1
end

-- Returns the IDs that every group has acknowledged, and the IDs that some group still needs. The caller's own group is
-- asked as well: it may have been moved back since it acknowledged an ID that was kept for another group.
local function unneeded()
  local needed = {}
  local bound
  for _, other in ipairs(groups) do
    local delivered = other['last-delivered-id']
    if not bound or less(delivered, bound) then
      bound = delivered
    end
    if other['pending'] > 0 then
      local from = ARGV[first]
      repeat
        local page = redis.call('XPENDING', key, other['name'], from, ARGV[last], PAGE)
        for _, entry in ipairs(page) do
          needed[entry[1]] = true
        end
        if #page == PAGE then
          from = '(' .. page[PAGE][1]
        end
      until #page < PAGE
    end
  end
  local free, kept = {}, {}
  for i = first, last do
    local id = ARGV[i]
    if needed[id] or less(bound, id) then
      kept[#kept + 1] = id
    else
      free[#free + 1] = id
    end
  end
  return free, kept
end

local own
local others = 0
for _, one in ipairs(groups) do
  if one['name'] == group then
    own = one
  else
    others = others + 1
  end
end

local acknowledged = each_page('XACK', ARGV, first, last, group)
if failed(acknowledged) then
  return acknowledged
end
local reply = {others}
if others > 0 or own and less(own['last-delivered-id'], ARGV[last]) then
  local free, kept = unneeded()
  local deleted = each_page('XDEL', free, 1, #free)
  if failed(deleted) then
    return deleted
  end
  for _, id in ipairs(kept) do
    reply[#reply + 1] = id
  end
  return reply
end
local deleted = each_page('XDEL', ARGV, own and trim(own, acknowledged) or first, last)
return failed(deleted) and deleted or reply
