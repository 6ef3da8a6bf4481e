-- Tells what happened to a message with a user.
local user, id = ARGV[1], ARGV[2]
local record = id_record(id)
if not record then return false end
local target, place = locate(user, id, record)
if not target then return { record[AT], record[DUE], '', 0, new_receipt() } end
local known = receipt(target, id, user)
if known[GONE] == 0 and string.byte(target, 1) == 99 then
  local entry = receipt(target, id, '')
  known[GONE], known[GONE_AT] = entry[GONE], entry[GONE_AT]
end
return { record[AT], record[DUE], target, place, known }
