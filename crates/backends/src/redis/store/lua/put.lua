-- Stores or schedules a message, unless its id is known.
local now, id, fresh, asked = num(ARGV[1]), ARGV[2], ARGV[3] == '1', ARGV[4]
local expires, wanted, due = num(ARGV[5]), ARGV[6], num(ARGV[7])
local most, refuses, cap, body = num(ARGV[8]), ARGV[9] == '1', num(ARGV[10]), ARGV[11]
local targets = {}
for i = 12, #ARGV do targets[#targets + 1] = ARGV[i] end

local from = first_hour(now, cap)
local known = not fresh and id_record(id)
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
call('HSET', P .. 'b', id, body)
local written = pack(record)
call('HSET', P .. 'd', id, written)

local size, current = #id + #written, string.format('%d', hour(now))
if call('HINCRBY', P .. 'u', current, size) == size then call('ZADD', P .. 'hours', current, current) end
call('RPUSH', P .. 'i:' .. current, id)
call('HINCRBY', P .. 'meta', 'bytes', size)
save_place()
return { outcome, places, refused, dropped }
