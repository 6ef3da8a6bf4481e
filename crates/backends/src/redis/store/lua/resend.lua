-- Gives a user a message again: it gets the next place in their inbox.
local now, user, id = num(ARGV[1]), ARGV[2], ARGV[3]
local own, record = 'u' .. user, id_record(id)
local found = record and held(user, id, record, now) or {}
if #found == 0 then return false end
-- Held by this, its message does not go with its last place.
call('HINCRBY', P .. 'n', id, call('HEXISTS', P .. 'n', id) == 1 and 1 or 2)
for i = 1, #found do take(user, id, found[i], RESENT, now) end
call('HDEL', P .. 'r:' .. user, id)
record = id_record(id)
local place = append(own, member_of(id, record), record[EXPIRES], 4294967295, false, now)
local places, kept = places_of(id, record), {}
for i = 1, #places, 2 do
  if places[i] ~= own then
    kept[#kept + 1] = places[i]
    kept[#kept + 1] = places[i + 1]
  end
end
kept[#kept + 1] = own
kept[#kept + 1] = place
set_places(id, record, kept)
save_id(id, record)
save_place()
return { place, call('HGET', P .. 'b', id) }
