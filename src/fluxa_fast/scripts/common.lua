-- Functions of several scripts. This file is put in front of them.

local function failed(reply)
  return type(reply) == 'table' and reply.err
end

-- Whether the ID a is less than b. The numbers of IDs stay strings, because Lua's numbers can't hold them. The shorter
-- string is less; of the same length, the one that sorts first.
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

-- Makes a table of a reply of the form name, value, name, value...
local function fields_of(flat)
  local fields = {}
  for i = 1, #flat, 2 do
    fields[flat[i]] = flat[i + 1]
  end
  return fields
end

-- Returns the reply to XINFO GROUPS as a list of tables, {} if there is no stream, or an error.
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

-- Returns what is known of the group with that name, or nil; and how many other groups there are.
local function own_and_others(groups, name)
  local own
  local others = 0
  for _, one in ipairs(groups) do
    if one['name'] == name then
      own = one
    else
      others = others + 1
    end
  end
  return own, others
end
