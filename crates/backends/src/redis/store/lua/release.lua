-- Puts what is due into inboxes. What was released last is told again to the node whose answer was lost.
local now, limit, node, asked = num(ARGV[1]), num(ARGV[2]), ARGV[3], ARGV[4]
local told, released = P .. 'released:' .. node, {}

local function tell(id, places, refused, dropped)
  released[#released + 1] = { id, call('HGET', P .. 'b', id), places, refused, dropped }
end

local before = call('GET', told)
if before then
  local last = unpack_record(before)
  if last[1] == asked then
    for i = 2, #last do
      local record = id_record(last[i])
      if record and is_there(last[i], record) then tell(last[i], places_of(last[i], record), {}, {}) end
    end
    return released
  end
end

local ids = { asked }
for _, padded in ipairs(call('ZRANGEBYSCORE', P .. 'due', '-inf', now, 'LIMIT', 0, limit)) do
  local number = num(padded)
  local waiting = load(P .. 'w', number)
  call('ZREM', P .. 'due', padded)
  call('HDEL', P .. 'w', number)
  local id, most, refuses, targets = waiting[1], waiting[2], waiting[3] == 1, waiting[4]
  local record = id_record(id) or { now, 0, '', 0, 0, 0, '', 0, 0 }
  record[DUE], record[NUMBER] = 0, 0
  if record[EXPIRES] > 0 and record[EXPIRES] <= now then
    local places = {}
    for i = 1, #targets do
      local never = new_receipt()
      never[GONE], never[GONE_AT], never[PLACE] = EXPIRED, now, next_place()
      save_receipt(targets[i], id, '', never)
      places[#places + 1] = targets[i]
      places[#places + 1] = never[PLACE]
    end
    set_places(id, record, places)
    save_id(id, record)
    unref(id)
  else
    local places, refused, dropped = spread(targets, member_of(id, record), record[EXPIRES], most, refuses, now)
    set_places(id, record, places)
    save_id(id, record)
    set_refs(id, #places / 2)
    tell(id, places, refused, dropped)
    ids[#ids + 1] = id
    if #places == 0 then unref(id) end
  end
end
save_place()
if #ids > 1 then call('SET', told, pack(ids), 'PX', 600000) end
return released
