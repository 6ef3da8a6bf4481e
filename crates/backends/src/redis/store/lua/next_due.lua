-- When the first of what waits is due.
return call('ZRANGE', P .. 'due', 0, 0, 'WITHSCORES')[2]
