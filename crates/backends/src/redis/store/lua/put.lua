-- Stores or schedules messages, one after the other, each unless its id is known.
local froms, sizes = {}, {}
-- What is written of all of them at once: their records, their bodies, and the ids of each hour.
local records, bodies, hours = {}, {}, {}
-- Ids of whom there was a record before, and ids that have come in this script.
local before, come = {}, {}

local function write_all()
  if #bodies == 0 then return end
  call('HSET', P .. 'b', unpack(bodies))
  call('HSET', P .. 'd', unpack(records))
  for current, ids in pairs(hours) do call('RPUSH', P .. 'i:' .. current, unpack(ids)) end
  records, bodies, hours = {}, {}, {}
end
-- What is dropped may be one of them.
before_drop = write_all

local function add(list, one, other)
  list[#list + 1] = one
  list[#list + 1] = other
end

local function from_of(now, cap)
  local current = hour(now)
  froms[current] = froms[current] or first_hour(now, cap)
  return froms[current]
end

-- Notes that an id counts from now on.
local function count_id(id, now, size)
  local current = string.format('%d', hour(now))
  hours[current] = hours[current] or {}
  add(hours[current], id)
  sizes[current] = (sizes[current] or 0) + size
end

-- The message whose words begin behind `at`; its answer.
local function put(at, targets)
  local now, id, asked = num(ARGV[at + 1]), ARGV[at + 2], ARGV[at + 3]
  local expires, wanted, due = num(ARGV[at + 4]), ARGV[at + 5], num(ARGV[at + 6])
  local most, refuses, cap = num(ARGV[at + 7]), ARGV[at + 8] == '1', num(ARGV[at + 9])
  local from = from_of(now, cap)
  if come[id] then write_all() end
  local known = (come[id] or before[id]) and id_record(id)
  if known then
    if known[ASKED] == asked then
      -- This very publication: its first answer was lost on the way.
      return { known[DUE] > 0 and 'scheduled' or 'stored', places_of(id, known), {}, {} }
    end
    if hour(known[AT]) >= from or is_there(id, known) then return { 'duplicate', places_of(id, known), {}, {} } end
  end
  local record = { now, expires, wanted, 0, 0, 0, asked, 0, 0 }
  local places, refused, dropped, outcome = {}, {}, {}, 'stored'
  if due > now then
    if known then forget(id, known) end
    local number = next_place()
    record[DUE], record[NUMBER], outcome = due, number, 'scheduled'
    call('ZADD', P .. 'due', due, string.format('%016d', number))
    call('HSET', P .. 'w', number, pack({ id, most, refuses and 1 or 0, targets }))
  else
    places, refused, dropped = spread(targets, member_of(id, record), expires, most, refuses, now)
    if #places == 0 then return { 'full', {}, refused, {} } end
    if known then forget(id, known) end
    set_places(id, record, places)
    if #places > 2 then set_refs(id, #places / 2) end
  end
  local written = pack(record)
  add(bodies, id, ARGV[at + 10])
  add(records, id, written)
  come[id] = true
  count_id(id, now, #id + #written)
  return { outcome, places, refused, dropped }
end

local at, answers, ids = 0, {}, {}
while at < #ARGV do
  ids[#ids + 1] = ARGV[at + 2]
  at = at + 11 + num(ARGV[at + 11])
end
for i, record in ipairs(call('HMGET', P .. 'd', unpack(ids))) do before[ids[i]] = record and true end
at = 0
while at < #ARGV do
  local targets, count = {}, num(ARGV[at + 11])
  for i = 1, count do targets[i] = ARGV[at + 11 + i] end
  answers[#answers + 1] = put(at, targets)
  at = at + 11 + count
end
write_all()
for current, size in pairs(sizes) do
  if call('HINCRBY', P .. 'u', current, size) == size then call('ZADD', P .. 'hours', current, current) end
  call('HINCRBY', P .. 'meta', 'bytes', size)
end
save_place()
return answers
