-- Takes over entries that other consumers have handed back or left behind. KEYS[1]: the stream. ARGV: the group, the
-- consumer, after how many milliseconds an entry counts as left behind ("": only what was handed back is taken), how many
-- entries at most, from where on ("-", or "(" and an ID), and the name that has what was handed back ("": nothing special
-- is done about it, and entries of this consumer are taken as well).
-- Returns what XAUTOCLAIM returns: the ID behind which to go on, or 0-0; the entries; and IDs of entries that were not in
-- the stream any more, which are acknowledged.
local key, group, name, idle, most, after, reserved = KEYS[1], unpack(ARGV)
most = tonumber(most)
local entries, gone, owners = {}, {}, {}
local bytes = 0

-- Claims these entries, up to about a megabyte: an entry may have many events. Returns the ID behind which to go on, if
-- that was too much.
local function take(pending, min_idle)
  for from = 1, #pending, 100 do
    if bytes > 1000000 and from > 1 then
      return pending[from - 1][1]
    end
    local ids = {}
    for at = from, math.min(#pending, from + 99) do
      ids[#ids + 1] = pending[at][1]
      owners[pending[at][2]] = true
    end
    local there = {}
    local reply = redis.call('XCLAIM', key, group, name, min_idle, unpack(ids))
    for at = 1, #ids do
      local entry = reply[at]
      if entry then -- Redis 6.2 has gaps where entries are gone
        entries[#entries + 1] = entry
        there[entry[1]] = true
        for _, field in ipairs(entry[2]) do
          bytes = bytes + #field
        end
      end
    end
    local missing = {}
    for _, id in ipairs(ids) do
      if not there[id] then
        missing[#missing + 1] = id
        gone[#gone + 1] = id
      end
    end
    if #missing > 0 then -- Redis 6.2 leaves them pending
      redis.call('XACK', key, group, unpack(missing))
    end
  end
end

local go_on = '0-0'
if reserved ~= '' then
  local page = redis.pcall('XPENDING', key, group, '-', '+', most, reserved)
  if failed(page) then
    return page
  end
  local left = take(page, 3600000)
  most = left and 0 or most - #page
  if most == 0 then -- there may be more
    go_on = left or page[#page][1]
  end
end
if idle ~= '' and most > 0 then
  local pending = due_entries(key, group, tonumber(idle), after, most, reserved ~= '' and name or '')
  if failed(pending) then
    return pending
  end
  local left = take(pending, idle)
  if left or #pending == most then
    go_on = left or pending[most][1]
  end
  owners[name] = nil
  owners[reserved] = nil
  if next(owners) then
    remove_names(key, group, tonumber(idle), function(one)
      return owners[one]
    end)
  end
end
return {go_on, entries, gone}
