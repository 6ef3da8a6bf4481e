-- Another run of Redis may know less than the one before: places of then count no more.
local run, life = ARGV[1], ARGV[2]
local known = call('HGET', P .. 'past', 'run')
if known and known ~= run then call('HSET', P .. 'past', 'run', run, 'life', life) end
return 1
