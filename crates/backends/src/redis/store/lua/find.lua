-- Where a user has these messages: for each, its last place (or false) and what lies in its places now.
local now, user = num(ARGV[1]), ARGV[2]
local answer = {}
for i = 3, #ARGV do
  local id = ARGV[i]
  local record = id_record(id)
  local last, items = record and last_place(user, id, record), {}
  local found = record and held(user, id, record, now) or {}
  for j = 1, #found do items[j] = { found[j][2], found[j][1], found[j][4], call('HGET', P .. 'b', id) } end
  answer[#answer + 1] = { last or false, items }
end
return answer
