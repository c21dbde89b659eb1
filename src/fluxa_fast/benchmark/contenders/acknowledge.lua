-- The script with which consumers acknowledged before it was replaced. Benchmarks compare with it, so it never changes.

-- What several scripts need; it is put in front of them.

local function failed(reply)
  return type(reply) == 'table' and reply.err
end

-- Whether the ID a is less than b: the shorter number is, and else the one that sorts first. IDs stay strings, because
-- Lua's numbers can't hold them.
local function less(a, b)
  if #a == #b and string.find(a, '-', 1, true) == string.find(b, '-', 1, true) then
    return a < b
  end
  local a_time, a_sequence = string.match(a, '^(%d+)-(%d+)$')
  local b_time, b_sequence = string.match(b, '^(%d+)-(%d+)$')
  if a_time == b_time then
    a_time, b_time = a_sequence, b_sequence
  end
  if #a_time ~= #b_time then
    return #a_time < #b_time
  end
  return a_time < b_time
end

-- A reply of names and values in turn, as a table.
local function fields_of(flat)
  local fields = {}
  for i = 1, #flat, 2 do
    fields[flat[i]] = flat[i + 1]
  end
  return fields
end

-- XINFO GROUPS as tables: {} if there is no stream, or else an error.
local function groups_of(key)
  local reply = redis.pcall('XINFO', 'GROUPS', key)
  if failed(reply) then
    return string.find(reply.err, 'no such key', 1, true) and {} or reply
  end
  local groups = {}
  for i, flat in ipairs(reply) do
    groups[i] = fields_of(flat)
  end
  return groups
end

-- Acknowledges entries and deletes them, unless another group still needs them: XACK and XDEL, made cheap by trimming.
-- KEYS[1]: the stream. ARGV: the group, then the IDs, ascending.
-- Returns the number of groups on the stream, and then the IDs that stay for other groups.
--
-- XDEL is the dearest part. But in a group where acknowledged means deleted, all that lies below the smallest pending ID
-- is to go, and XTRIM drops it by whole nodes. That is done only where the counters prove that nothing else lies there:
-- a group may have begun at $, or have been moved by SETID. In doubt, the IDs are deleted one by one.
local key, group = KEYS[1], ARGV[1]
local first, last = 2, #ARGV
local PAGE = 5000 -- what unpack() puts on Lua's stack, which takes about 8000

-- XACK or XDEL of ids[from] to ids[to].
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

-- The place of the first of the IDs that is not less than `mark`.
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

-- Trims what this call acknowledged and returns where the IDs begin that are still to be deleted one by one.
local function trim(own, acknowledged)
  local pending = own['pending'] - acknowledged
  local behind = own['lag'] -- entries that were never delivered; not known by every server and at every time
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
  -- Of the delivered entries none is left but those that are pending, and those that were just acknowledged; and
  -- the oldest of all is one of these.
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

-- Those of the IDs that every other group has had and acknowledged, and the others.
local function unneeded(others)
  local needed = {}
  local bound
  for _, other in ipairs(others) do
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

local groups = groups_of(key)
if failed(groups) then
  return groups
end
local own
local others = {}
for _, one in ipairs(groups) do
  if one['name'] == group then
    own = one
  else
    others[#others + 1] = one
  end
end

local acknowledged = each_page('XACK', ARGV, first, last, group)
if failed(acknowledged) then
  return acknowledged
end
local reply = {#groups}
if #others > 0 then
  local free, kept = unneeded(others)
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
