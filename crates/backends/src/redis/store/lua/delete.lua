-- Takes messages from a user.
local now, user = num(ARGV[1]), ARGV[2]
local removed, unknown = {}, {}
for i = 3, #ARGV do
  local id = ARGV[i]
  local record = id_record(id)
  local found = record and held(user, id, record, now) or {}
  for j = 1, #found do take(user, id, found[j], DELETED, now) end
  local list = #found > 0 and removed or unknown
  list[#list + 1] = id
end
return { removed, unknown }
