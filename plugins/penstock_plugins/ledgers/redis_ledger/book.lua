#!lua name=penstock_ledger
-- The book of a ledger on Redis or Valkey: carries out one batch of steps, all of it or nothing.
--
-- It is penstock.policy.ledger_book once more, on keys of the server; both answer alike, which tests compare step by
-- step. First everything is read and reckoned, in tables of this script; what was changed is written at the end. So a
-- step that fails, a key of a wrong type or a full memory leave all as it was.
--
-- KEYS     (`K` below) all that a ledger has, under one hash tag (one slot of a cluster):
--   1 windows  hash: window key -> doubles: limit tokens, limit USD and nano-USD (-1 where none is set by hand), and
--              ten for each bucket; the field '' -> doubles: version, now (the latest time ever), tombstone (the
--              longest lease, in seconds), and the time before which nothing is due
--   2 ends     sorted set: window key by the end of its last bucket; then it is looked at and forgotten
--   3 holds    hash: id -> packed {account, output, reserved at, lease ends, top-ups, lapsed, {part, ...}}; lapsed is
--              false, true, or 2 where the hold was released by hand: no renewal gives it its lease again
--   4 due      sorted set: id by the time at which something is to be done about the hold
--   5 settled  sorted set: id by the time until which it is known as settled
--   6 history  list of packed rows: what was done by hand
--   7 journal  hash: packed {quarter, account, target, estimated} -> packed sums
--   8 quarters sorted set: fields of the journal by their quarter of an hour
-- ARGV[1]  the steps, packed; ARGV[2] the time, or '' for the server's own; ARGV[3] when the books were begun, or ''
-- ARGV[4]  nothing, or 'back': the clock is set back to ARGV[2]; ARGV[1] is then {reason, window key -> its end then}
-- Answers  packed {now, {answer, ...}}, or {false, version} where the content is of another version
--
-- Figures. Numbers here are doubles, exact up to 2^53, which is less than 10 million USD in nano-USD. So money is a
-- pair: whole USD (rounded down) and the nano-USD above them, 0 to 999,999,999. An amount is {tokens, USD, nano-USD}.
--
-- Speed. Every call of every process waits for this. So it is a library (FUNCTION LOAD), whose functions are there
-- already when it is called: made anew for each call, as EVALSHA does, they took a third of its time. It calls the server
-- as seldom as it can, each time some microseconds, and changes figures in place.

local VERSION = 1
local E9, E6 = 1000000000, 1000000
local QUARTER = 900           -- seconds: days of every time zone begin at a quarter of an hour
local MOST_HISTORY = 10000    -- rows, some megabytes: what people do by hand is seldom more in years
local JOURNAL_KEPT = 34560000 -- seconds, 400 days: a year can be compared with the one before
local SWEEPS, SWEPT = 10, 1000 -- a second, and what is over that each forgets: no batch waits long for it
local HELD, SPENT, ESTIMATED = 2, 5, 8 -- where an amount begins in a bucket
local RELEASED = 2            -- how a hold has lapsed

-- The functions, and what one call works on; `begin` makes that anew, for a call may have ended in an error.
local B = {}
local K, now, tombstone, next_due, born

function B.begin(keys)
  K = keys
  B.windows, B.changed_windows, B.holds, B.changed_holds = {}, {}, {}, {}
  B.buried, B.journal, B.history, B.barred = {}, {}, {}, {}
end

function B.exactly(number) return string.format('%.17g', number) end

-- Amounts

function B.plus(a, b)
  local usd, nano = a[2] + b[2], a[3] + b[3]
  if nano >= E9 then usd, nano = usd + 1, nano - E9 end
  return {a[1] + b[1], usd, nano}
end

function B.minus(a, b)
  local usd, nano = a[2] - b[2], a[3] - b[3]
  if nano < 0 then usd, nano = usd - 1, nano + E9 end
  return {a[1] - b[1], usd, nano}
end

function B.less_money(a, b) return a[2] < b[2] or (a[2] == b[2] and a[3] < b[3]) end

function B.at_most(a, b)
  local poorer = B.less_money(a, b) and a or b
  return {math.min(a[1], b[1]), poorer[2], poorer[3]}
end

function B.at_least(a, b)
  local richer = B.less_money(a, b) and b or a
  return {math.max(a[1], b[1]), richer[2], richer[3]}
end

-- The amount that begins at `at`.
function B.cut(row, at) return {row[at], row[at + 1], row[at + 2]} end

-- Adds an amount, or takes it away where the sign is -1, in place.
function B.put(row, at, amount, sign)
  local usd, nano = row[at + 1] + sign * amount[2], row[at + 2] + sign * amount[3]
  if nano >= E9 then
    usd, nano = usd + 1, nano - E9
  elseif nano < 0 then
    usd, nano = usd - 1, nano + E9
  end
  row[at], row[at + 1], row[at + 2] = row[at] + sign * amount[1], usd, nano
end

-- Windows. A page's `flat` is what is kept of it: three limits, then ten figures for each bucket: finish, held (3), spent
-- (3), estimated (3). A bucket is the place at which its figures begin. A page's `sum` is like a bucket, of all of them:
-- made when the page is read, for what is kept once cannot differ from itself.

local FIRST, LONG = 4, 10
local forms = {}

-- The form of so many doubles.
function B.form(number)
  if not forms[number] then forms[number] = '<' .. string.rep('d', number) end
  return forms[number]
end

function B.doubles(kept)
  local number = #kept / 8
  local flat = {struct.unpack(B.form(number), kept)}
  flat[number + 1] = nil -- where it stopped to read
  return flat
end

function B.open_page(key, kept)
  local page = {key = key, kept = kept, limit_tokens = false, limit_money = false, flat = {-1, -1, -1},
    sum = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, kept_until = false}
  B.windows[key] = page
  if not kept then return page end
  local flat, sum = B.doubles(kept), page.sum
  page.limit_tokens = flat[1] >= 0 and flat[1]
  page.limit_money = flat[2] >= 0 and {flat[2], flat[3]}
  page.kept_until = #flat > FIRST and flat[#flat - LONG + 1]
  -- What has left the window is let go.
  local place = FIRST
  while flat[place] and flat[place] <= now do place = place + LONG end
  if place > FIRST then
    for i = FIRST, #flat do flat[i] = flat[i + place - FIRST] end
  end
  page.flat = flat
  for bucket = FIRST, #flat, LONG do
    for i = HELD, LONG do sum[i] = sum[i] + flat[bucket + i - 1] end
    for i = HELD, ESTIMATED, 3 do
      if sum[i + 2] >= E9 then sum[i + 1], sum[i + 2] = sum[i + 1] + 1, sum[i + 2] - E9 end
    end
  end
  return page
end

-- Reads those of the windows that are not read yet.
function B.need(keys)
  local names = {}
  for _, key in ipairs(keys) do
    if not B.windows[key] then names[#names + 1] = key end
  end
  B.each_portion(names, function(portion)
    local kept = redis.call('HMGET', K[1], unpack(portion))
    for i, key in ipairs(portion) do B.open_page(key, kept[i]) end
  end)
end

function B.window(key)
  if not B.windows[key] then B.open_page(key, redis.call('HGET', K[1], key)) end
  return B.windows[key]
end

function B.is_known(page) return #page.flat > FIRST or page.limit_tokens or page.limit_money end

-- The place of the last bucket, or nil.
function B.last_of(page)
  local flat = page.flat
  return #flat > FIRST and #flat - LONG + 1 or nil
end

-- Where what is reserved now is counted. A window goes on until its end, whatever a later step thinks of it.
function B.bucket_of(page, use)
  local flat, last = page.flat, B.last_of(page)
  if last and (not use[3] or use[2] <= flat[last]) then return last end
  last = #flat + 1
  flat[last] = use[2]
  for i = last + 1, last + LONG - 1 do flat[i] = 0 end
  B.changed_windows[page.key] = page
  return last
end

-- The page, and the bucket in which a part of a hold is counted; none where it has left its window.
function B.find(key, finish)
  local page = B.window(key)
  local flat = page.flat
  for bucket = FIRST, #flat, LONG do
    if flat[bucket] == finish then return page, bucket end
  end
end

-- What is held, spent or estimated in a bucket.
function B.figure(page, bucket, at) return B.cut(page.flat, bucket + at - 1) end

-- Adds to what is held, spent or estimated, in a bucket and in its window.
function B.add(page, bucket, at, amount, sign)
  B.put(page.flat, bucket + at - 1, amount, sign)
  B.put(page.sum, at, amount, sign)
  B.changed_windows[page.key] = page
end

function B.write_windows()
  local kept, gone, ends = {'', struct.pack('<ddddd', VERSION, now, tombstone, next_due, born)}, {}, {}
  for key, page in pairs(B.changed_windows) do
    local flat, money = page.flat, page.limit_money or {-1, -1}
    if B.is_known(page) then
      flat[1], flat[2], flat[3] = page.limit_tokens or -1, money[1], money[2]
      kept[#kept + 1] = key
      kept[#kept + 1] = struct.pack(B.form(#flat), unpack(flat))
      local last = B.last_of(page)
      if last and flat[last] ~= page.kept_until then
        ends[#ends + 1] = B.exactly(flat[last])
        ends[#ends + 1] = key
      elseif not last then
        redis.call('ZREM', K[2], key)
      end
    elseif page.kept then
      gone[#gone + 1] = key
    end
  end
  B.write('HSET', K[1], kept)
  B.write('HDEL', K[1], gone)
  B.write('ZADD', K[2], ends)
  B.write('ZREM', K[2], gone)
end

-- Calls f with some of the words at a time: `unpack` puts them all on a small stack.
function B.each_portion(words, f)
  if #words > 0 and #words <= 1000 then return f(words) end
  for i = 1, #words, 1000 do
    local portion = {}
    for j = i, math.min(i + 999, #words) do portion[#portion + 1] = words[j] end
    f(portion)
  end
end

-- One command for many things.
function B.write(command, key, words)
  B.each_portion(words, function(portion) redis.call(command, key, unpack(portion)) end)
end

-- Holds. A part is {amount, {key, finish, key, finish, ...}, by estimate}: what was reserved at one time, and where it is
-- counted. The first part is by the bound, if in no window.

function B.read_hold(id, kept)
  local read = cmsgpack.unpack(kept)
  local hold = {id = id, account = read[1], output = read[2], reserved_at = read[3], lease_ends = read[4],
    top_ups = read[5], lapsed = read[6], parts = read[7], kept = true}
  B.holds[id] = hold
  local keys = {}
  for _, part in ipairs(hold.parts) do
    for i = 1, #part[2], 2 do keys[#keys + 1] = part[2][i] end
  end
  B.need(keys)
  return hold
end

function B.hold_of(id)
  local hold = B.holds[id]
  if hold == nil then
    local kept = redis.call('HGET', K[3], id)
    hold = kept and B.read_hold(id, kept) or false
    B.holds[id] = hold
  end
  return hold and not hold.over and hold
end

function B.drop(hold)
  hold.over = true
  B.changed_holds[hold.id] = hold
end

-- All that it holds by the bound.
function B.amount_of(hold)
  local parts = hold.parts
  local sum = parts[1][1]
  for i = 2, #parts do
    if not parts[i][3] then sum = B.plus(sum, parts[i][1]) end
  end
  return sum
end

-- The same by the estimate; false where no window counts it by that.
function B.likely_of(hold)
  local parts, sum = hold.parts, false
  for i = 2, #parts do
    if parts[i][3] then sum = sum and B.plus(sum, parts[i][1]) or parts[i][1] end
  end
  return sum
end

function B.counts_until(hold)
  local latest = 0
  for _, part in ipairs(hold.parts) do
    local places = part[2]
    for i = 2, #places, 2 do latest = math.max(latest, places[i]) end
  end
  return latest
end

-- Calls f(part's amount, page, bucket) wherever the hold still counts.
function B.each_place(hold, f)
  for _, part in ipairs(hold.parts) do
    local places = part[2]
    for i = 1, #places, 2 do
      local page, bucket = B.find(places[i], places[i + 1])
      if bucket then f(part[1], page, bucket) end
    end
  end
end

-- Charges a hold in full: nobody knows what became of its call.
function B.lapse(hold, how)
  hold.lapsed = how or true
  B.each_place(hold, function(amount, page, bucket)
    B.add(page, bucket, HELD, amount, -1)
    B.add(page, bucket, SPENT, amount, 1)
    B.add(page, bucket, ESTIMATED, amount, 1)
  end)
  B.write_down_lapsed(hold, 1)
  B.changed_holds[hold.id] = hold
end

-- Counts a lapsed hold as held again; what of its charge was taken away by hand is not taken away once more.
function B.revive(hold)
  B.write_down_lapsed(hold, -1)
  hold.lapsed = false
  B.each_place(hold, function(amount, page, bucket)
    local back = B.at_most(amount, B.figure(page, bucket, ESTIMATED))
    B.add(page, bucket, HELD, amount, 1)
    B.add(page, bucket, SPENT, back, -1)
    B.add(page, bucket, ESTIMATED, back, -1)
  end)
  B.changed_holds[hold.id] = hold
end

function B.write_holds()
  local kept, gone, due = {}, {}, {}
  for id, hold in pairs(B.changed_holds) do
    if not hold.over then
      kept[#kept + 1] = id
      kept[#kept + 1] = cmsgpack.pack({hold.account, hold.output, hold.reserved_at, hold.lease_ends, hold.top_ups,
        hold.lapsed, hold.parts})
      local at = hold.lapsed and B.counts_until(hold) or hold.lease_ends
      due[#due + 1] = B.exactly(at)
      due[#due + 1] = id
      next_due = math.min(next_due, at)
    elseif hold.kept then
      gone[#gone + 1] = id
    end
  end
  B.write('HSET', K[3], kept)
  B.write('HDEL', K[3], gone)
  B.write('ZADD', K[4], due)
  B.write('ZREM', K[4], gone)
end

-- Settled ids, the journal and the history

function B.is_settled(id)
  if B.buried[id] then return true end
  local known_until = redis.call('ZSCORE', K[5], id)
  return known_until and tonumber(known_until) > now
end

-- Adds a call's charge, or takes it back where the sign is -1.
function B.write_down(account, spent, at, sign)
  local quarter = math.floor(at / QUARTER) * QUARTER
  for _, one in ipairs(spent) do
    local field = cmsgpack.pack({quarter, account, one[1], one[2]})
    local line = B.journal[field]
    if not line then
      local kept = redis.call('HGET', K[7], field)
      line = {quarter = quarter, kept = kept, sums = kept and cmsgpack.unpack(kept) or {0, 0, 0, 0, 0, 0, 0, 0, 0}}
      B.journal[field] = line
    end
    -- One more call; attempts and five kinds of tokens; USD and nano-USD.
    local sums = line.sums
    sums[1] = sums[1] + sign
    for i = 2, 9 do sums[i] = sums[i] + sign * one[i + 1] end
    if sums[9] >= E9 then
      sums[8], sums[9] = sums[8] + 1, sums[9] - E9
    elseif sums[9] < 0 then
      sums[8], sums[9] = sums[8] - 1, sums[9] + E9
    end
  end
end

-- The charge of a lapsed hold, at no target that anybody knows.
function B.write_down_lapsed(hold, sign)
  local amount = B.amount_of(hold)
  local output = math.min(hold.output, amount[1])
  local spent = {'', true, 0, amount[1] - output, 0, 0, output, 0, amount[2], amount[3]}
  B.write_down(hold.account, {spent}, hold.reserved_at, sign)
end

function B.write_records()
  local buried, sums, quarters, rows = {}, {}, {}, {}
  for id, known_until in pairs(B.buried) do
    buried[#buried + 1] = B.exactly(known_until)
    buried[#buried + 1] = id
  end
  for field, line in pairs(B.journal) do
    sums[#sums + 1] = field
    sums[#sums + 1] = cmsgpack.pack(line.sums)
    if not line.kept then
      quarters[#quarters + 1] = B.exactly(line.quarter)
      quarters[#quarters + 1] = field
    end
  end
  for i, row in ipairs(B.history) do rows[i] = cmsgpack.pack(row) end
  B.write('ZADD', K[5], buried)
  B.write('HSET', K[7], sums)
  B.write('ZADD', K[8], quarters)
  B.write('RPUSH', K[6], rows)
  if #rows > 0 then redis.call('LTRIM', K[6], -MOST_HISTORY, -1) end
end

-- Room. A use is {key, finish, rolling, limit tokens, limit money, by estimate}: a window with the limits that count in it,
-- and by which of its two amounts a hold does.

function B.is_over(uses)
  for _, use in ipairs(uses) do
    if use[2] <= now then return true end
  end
  return false
end

-- A limit that was set by hand goes before that of the step.
function B.limits(use, page) return page.limit_tokens or use[4], page.limit_money or use[5] end

-- How much of `need` is not free beside what is spent, and held unless `but_holds`; nil where it fits. Where more was
-- charged than there is, nothing fits.
function B.missing(use, page, need, sum, but_holds)
  local tokens, usd, nano = need[1] + sum[5], need[2] + sum[6], need[3] + sum[7]
  if not but_holds then tokens, usd, nano = tokens + sum[2], usd + sum[3], nano + sum[4] end
  local most, money = B.limits(use, page)
  local lack
  if most and tokens > most then lack = {tokens - most, 0, 0} end
  if money then
    local above = nano % E9
    usd, nano = usd + (nano - above) / E9, above
    if usd > money[1] or (usd == money[1] and nano > money[2]) then
      lack = B.minus({lack and lack[1] or 0, usd, nano}, {0, money[1], money[2]})
    end
  end
  return lack
end

-- Whether it fits all of them: asked for every reserve, `lacks_of` where it does not.
function B.takes(uses, need)
  for _, use in ipairs(uses) do
    local page = B.windows[use[1]]
    if B.missing(use, page, need, page.sum, false) then return false end
  end
  return true
end

-- When it would fit with every hold released, as one bucket after the other leaves the window.
function B.refills_at(use, page, need)
  local left = {0, 0, 0, 0, page.sum[5], page.sum[6], page.sum[7]}
  for bucket = FIRST, #page.flat, LONG do
    B.put(left, SPENT, B.figure(page, bucket, SPENT), -1)
    if not B.missing(use, page, need, left, true) then return page.flat[bucket] end
  end
  return false
end

-- An estimate is {amount}, or {false, lines, output}: worked out where it is asked for, which is seldom.
function B.guessed(guess)
  guess[1] = guess[1] or B.dearest(guess[2], guess[3])
  return guess[1]
end

-- Where there is no room: {key, limits, missing, missing with every hold released, refills at, frees at, missing by the
-- other amount, by estimate}; and whether there would be none with every hold released.
function B.lacks_of(uses, need, guess)
  local lacks, hopeless = {}, false
  for _, use in ipairs(uses) do
    local page = B.windows[use[1]]
    local own = use[6] and B.guessed(guess) or need
    local lack = B.missing(use, page, own, page.sum, false)
    if lack then
      local tokens, money = B.limits(use, page)
      local of_spent = B.missing(use, page, own, page.sum, true) or false
      hopeless = hopeless or of_spent ~= false
      local refills = of_spent and B.refills_at(use, page, own)
      local other = use[6] and need or B.guessed(guess)
      local otherwise = B.missing(use, page, other, page.sum, of_spent ~= false) or false
      lacks[#lacks + 1] = {use[1], tokens, money, lack, of_spent, refills, page.flat[FIRST] or false, otherwise, use[6]}
    end
  end
  return lacks, hopeless
end

-- Counts an amount as held in the windows by estimate, in those by the bound, or in all (nil); returns the places: {key,
-- finish, key, finish, ...}.
function B.count(uses, amount, by_estimate)
  local places = {}
  for _, use in ipairs(uses) do
    if by_estimate == nil or use[6] == by_estimate then
      local page = B.windows[use[1]]
      local bucket = B.bucket_of(page, use)
      B.add(page, bucket, HELD, amount, 1)
      places[#places + 1] = use[1]
      places[#places + 1] = page.flat[bucket]
    end
  end
  return places
end

function B.any_by_estimate(uses)
  for _, use in ipairs(uses) do
    if use[6] then return true end
  end
  return false
end

-- Lines: {input tokens, input USD, input nano-USD, rate / 10^6, rate % 10^6, most output}, the rate in nano-USD per
-- million tokens. It comes in two parts because output * rate is more than a double holds.

-- Tokens, USD and nano-USD that a line costs at most at an output.
function B.at_output(line, output)
  local given = math.min(output, line[6])
  local fine = given * line[5]
  local rest = fine % E6
  local nano = given * line[4] + (fine - rest) / E6
  if rest > 0 then nano = nano + 1 end -- rounded up
  local above = nano % E9
  local usd = line[2] + (nano - above) / E9
  above = line[3] + above
  if above >= E9 then usd, above = usd + 1, above - E9 end
  return line[1] + given, usd, above
end

function B.dearest(lines, output)
  local most = {0, 0, 0}
  for _, line in ipairs(lines) do
    local tokens, usd, nano = B.at_output(line, output)
    if tokens > most[1] then most[1] = tokens end
    if usd > most[2] or (usd == most[2] and nano > most[3]) then most[2], most[3] = usd, nano end
  end
  return most
end

-- What is free in all windows by estimate, or in all by the bound.
function B.room_of(uses, by_estimate)
  local room = {}
  for _, use in ipairs(uses) do
    if use[6] == by_estimate then
      local page = B.windows[use[1]]
      local tokens, money = B.limits(use, page)
      local used = B.plus(B.cut(page.sum, HELD), B.cut(page.sum, SPENT))
      if tokens then room.tokens = math.min(room.tokens or math.huge, tokens - used[1]) end
      if money then
        local free = B.minus({0, money[1], money[2]}, used)
        if not room.money or B.less_money(free, room.money) then room.money = free end
      end
    end
  end
  return room
end

function B.fits(line, output, room)
  local tokens, usd, nano = B.at_output(line, output)
  if room.tokens and tokens > room.tokens then return false end
  local money = room.money
  return not money or usd < money[2] or (usd == money[2] and nano <= money[3])
end

-- The largest output from `least`, which fits, to `most` at which every line fits: halving, so that each figure on the
-- way is one that is compared exactly.
function B.most_output(lines, room, least, most)
  for _, line in ipairs(lines) do
    local top = math.min(most, line[6])
    if not B.fits(line, top, room) then
      local low, high = least, top
      while high - low > 1 do
        local middle = math.floor((low + high) / 2)
        if B.fits(line, middle, room) then low = middle else high = middle end
      end
      most = low
    end
  end
  return most
end

-- Steps. Answers: 1 held, 2 lacking, 3 charged, 4 known, 5 stale, 6 changed, 7 released.

local KNOWN, STALE = {4}, {5}

function B.held(hold) return {1, hold.output, B.amount_of(hold), B.likely_of(hold)} end

function B.remember(lease)
  if lease > tombstone and lease < math.huge then tombstone = lease end
end

-- What is in the way of the least that a reserve would be content with; nil where there is room for it.
function B.lacking(uses, lines, likely, least, waits)
  local amount, guess = B.dearest(lines, least), {false, likely, least}
  local lacks, hopeless = B.lacks_of(uses, amount, guess)
  local behind = {}
  for _, use in ipairs(uses) do
    if B.barred[use[1]] then behind[#behind + 1] = use[1] end
  end
  if #lacks == 0 and #behind == 0 then return nil end
  if waits and not hopeless then
    for _, lack in ipairs(lacks) do B.barred[lack[1]] = true end
  end
  local shortest, would_fit = math.min(least, 1), true
  amount, guess = B.dearest(lines, shortest), {false, likely, shortest}
  for _, use in ipairs(uses) do
    local page = B.windows[use[1]]
    local need = use[6] and B.guessed(guess) or amount
    if B.missing(use, page, need, page.sum, hopeless) then would_fit = false end
  end
  return {2, lacks, behind, would_fit}
end

function B.reserve(step)
  local id, account, uses, lines, least, most, lease, waits, likely = step[2], step[3], step[4], step[5], step[6],
    step[7], step[8], step[9], step[10]
  local known = B.hold_of(id)
  if known then return B.held(known) end
  if B.is_settled(id) then return KNOWN end
  if B.is_over(uses) then return STALE end
  local output, amount, guessing = most, B.dearest(lines, most), B.any_by_estimate(uses)
  if guessing or next(B.barred) or not B.takes(uses, amount) then
    local lacking = B.lacking(uses, lines, likely, least, waits)
    if lacking then return lacking end
    if least < most then
      output = B.most_output(lines, B.room_of(uses, false), least, most)
      if guessing then output = B.most_output(likely, B.room_of(uses, true), least, output) end
    end
    amount = B.dearest(lines, output)
  end
  local parts = {{amount, B.count(uses, amount, false), false}}
  if guessing then
    local dearest = B.dearest(likely, output)
    parts[2] = {dearest, B.count(uses, dearest, true), true}
  end
  local hold = {id = id, account = account, output = output, reserved_at = now, lease_ends = now + lease, top_ups = 0,
    lapsed = false, parts = parts}
  -- One of this id may have ended in this very batch, and stand where this one is written.
  hold.kept = B.holds[id] and B.holds[id].kept
  B.remember(lease)
  B.holds[id], B.changed_holds[id] = hold, hold
  return B.held(hold)
end

-- Adds to the last part of its kind, where it is counted in the same places, or stands beside it.
function B.add_part(hold, part)
  local parts = hold.parts
  for i = #parts, 1, -1 do
    if parts[i][3] == part[3] then
      local known, places = parts[i][2], part[2]
      local alike = #places == #known
      for j, place in ipairs(places) do alike = alike and place == known[j] end
      if alike then
        parts[i][1] = B.plus(parts[i][1], part[1])
        return
      end
      break
    end
  end
  parts[#parts + 1] = part
end

-- More of a hold counts in each window as the hold did before, where it did. By its estimate only where it has one: what was
-- reserved for windows by the bound alone has none.
function B.use_as_before(hold, uses)
  local guessing, ways = B.likely_of(hold) ~= false, {}
  for _, part in ipairs(hold.parts) do
    for i = 1, #part[2], 2 do ways[part[2][i]] = part[3] end
  end
  for _, use in ipairs(uses) do
    if ways[use[1]] ~= nil then use[6] = ways[use[1]] else use[6] = use[6] and guessing end
  end
end

function B.top_up(step)
  local id, number, uses, more, likely = step[2], step[3], step[4], step[5], step[6]
  local hold = B.hold_of(id)
  if not hold then return KNOWN end
  if number <= hold.top_ups then return B.held(hold) end
  if B.is_over(uses) then return STALE end
  B.use_as_before(hold, uses)
  local lacks = B.lacks_of(uses, more, {likely})
  if #lacks > 0 then return {2, lacks, {}, false} end
  local released = hold.lapsed == RELEASED
  if hold.lapsed then B.revive(hold) end
  hold.top_ups = number
  B.add_part(hold, {more, B.count(uses, more, false), false})
  if B.any_by_estimate(uses) then B.add_part(hold, {likely, B.count(uses, likely, true), true}) end
  if released then B.lapse(hold, RELEASED) end
  B.changed_holds[id] = hold
  return B.held(hold)
end

-- In each window each part takes what it held there; the last one all the rest.
function B.charge(hold, charged, estimated)
  local last, left = {}, {}
  for i, part in ipairs(hold.parts) do
    for j = 1, #part[2], 2 do last[part[2][j]] = i end
  end
  for i, part in ipairs(hold.parts) do
    local places = part[2]
    for j = 1, #places, 2 do
      local key = places[j]
      local rest = left[key] or charged
      local share = last[key] == i and rest or B.at_most(rest, part[1])
      left[key] = B.minus(rest, share)
      local page, bucket = B.find(key, places[j + 1])
      if bucket then
        B.add(page, bucket, HELD, part[1], -1)
        B.add(page, bucket, SPENT, share, 1)
        if estimated then B.add(page, bucket, ESTIMATED, share, 1) end
      end
    end
  end
end

function B.settle(step)
  local id, charged, estimated, account, uses, spent, tells = step[2], step[3], step[4], step[5], step[6], step[7],
    step[8]
  local hold = B.hold_of(id)
  -- An id is held or settled, never both.
  if not hold and B.is_settled(id) then return KNOWN end
  if not hold and B.is_over(uses) then return STALE end
  B.buried[id] = now + tombstone
  if #spent > 0 then B.write_down(hold and hold.account or account, spent, now, 1) end
  if hold then
    B.drop(hold)
    if hold.lapsed then B.revive(hold) end
  elseif #uses > 0 then
    local nothing = {0, 0, 0}
    hold = {parts = {{nothing, B.count(uses, nothing), false}}}
  else
    return KNOWN
  end
  local turns, seen = {}, {}
  for _, part in ipairs(tells and hold.parts or {}) do
    for i = 1, #part[2], 2 do
      local page = B.window(part[2][i])
      local last = B.last_of(page)
      if last and not seen[page.key] then
        seen[page.key] = true
        turns[#turns + 1] = {page.key, B.cut(page.sum, SPENT), false, page.flat[last]}
      end
    end
  end
  B.charge(hold, charged, estimated)
  for _, turn in ipairs(turns) do turn[3] = B.cut(B.windows[turn[1]].sum, SPENT) end
  return {3, B.amount_of(hold), turns}
end

function B.renew(step)
  local ids, lease = step[2], step[3]
  B.remember(lease)
  for _, id in ipairs(ids) do
    local hold = B.hold_of(id)
    if hold and hold.lapsed ~= RELEASED then
      hold.lease_ends = now + lease
      if hold.lapsed then B.revive(hold) end
      B.changed_holds[id] = hold
    end
  end
  return KNOWN
end

function B.is_below(account, parent)
  return parent == '' or account == parent or account:sub(1, #parent + 1) == parent .. '/'
end

local function counts_in(places, key)
  for i = 1, #places, 2 do
    if places[i] == key then return true end
  end
  return false
end

function B.adopt(step)
  local account, use = step[2], step[3]
  local page = B.window(use[1])
  if B.last_of(page) then return KNOWN end
  if B.is_over({use}) then return STALE end
  -- The names of windows are period:zone:account. Looking at them all is dear, and done when a limit is new.
  local pattern = '^([^:]*):[^:]*:(.*)$'
  local period, whose = use[1]:match(pattern)
  local names = redis.call('HKEYS', K[1])
  for key in pairs(B.windows) do names[#names + 1] = key end
  local spent = {0, 0, 0}
  for _, key in ipairs(names) do
    local its_period, its_account = key:match(pattern)
    if key ~= use[1] and its_period == period and its_account == whose then
      spent = B.at_least(spent, B.cut(B.window(key).sum, SPENT))
    end
  end
  local bucket = B.bucket_of(page, use)
  B.add(page, bucket, SPENT, spent, 1)
  local kept = redis.call('HGETALL', K[3])
  for i = 1, #kept, 2 do
    if B.holds[kept[i]] == nil then B.read_hold(kept[i], kept[i + 1]) end
  end
  for id, hold in pairs(B.holds) do
    if hold and not hold.over and B.is_below(hold.account, account) then
      local its = {use[1], use[2], use[3], use[4], use[5], use[6]}
      B.use_as_before(hold, {its})
      for _, part in ipairs(hold.parts) do
        local amount, places = part[1], part[2]
        -- What was reserved in that very window, before, stays where it was.
        if part[3] == its[6] and not counts_in(places, use[1]) then
          places[#places + 1] = use[1]
          places[#places + 1] = page.flat[bucket]
          B.add(page, bucket, hold.lapsed and SPENT or HELD, amount, 1)
          if hold.lapsed then B.add(page, bucket, ESTIMATED, amount, 1) end
        end
      end
      B.changed_holds[id] = hold
    end
  end
  return KNOWN
end

function B.release(step)
  local id, reason = step[2], step[3]
  local hold = B.hold_of(id)
  if not hold then return KNOWN end
  local amount = B.amount_of(hold)
  if not hold.lapsed then
    hold.lease_ends = math.min(hold.lease_ends, now)
    B.lapse(hold, RELEASED)
  end
  hold.lapsed = RELEASED
  B.changed_holds[id] = hold
  B.history[#B.history + 1] = {now, 'release', hold.account, id, reason, {amount}}
  return {7, amount}
end

-- What is spent, and the limits that count.
function B.state(use, page)
  local tokens, money = B.limits(use, page)
  return {B.cut(page.sum, SPENT), tokens, money}
end

-- Corrects what is spent: the newest buckets first, so that no bucket goes below nothing.
function B.spend(page, use, wanted)
  local change, nothing = B.minus(wanted, B.cut(page.sum, SPENT)), {0, 0, 0}
  if change[1] == 0 and change[2] == 0 and change[3] == 0 then return end
  B.add(page, B.bucket_of(page, use), SPENT, B.at_least(change, nothing), 1)
  local less = B.minus(nothing, B.at_most(change, nothing))
  for bucket = B.last_of(page), FIRST, -LONG do
    local share = B.at_most(B.figure(page, bucket, SPENT), less)
    B.add(page, bucket, SPENT, share, -1)
    -- An estimate is part of what is spent.
    local guessed = B.figure(page, bucket, ESTIMATED)
    B.add(page, bucket, ESTIMATED, B.minus(guessed, B.at_most(guessed, B.figure(page, bucket, SPENT))), -1)
    less = B.minus(less, share)
  end
end

function B.change(step)
  local account, use, reset, limit_tokens, limit_money = step[2], step[3], step[4], step[5], step[6]
  local spent_tokens, spent_money, reason = step[7], step[8], step[9]
  if B.is_over({use}) then return STALE end
  local page = B.window(use[1])
  local before, wanted = B.state(use, page), B.cut(page.sum, SPENT)
  if reset then
    page.limit_tokens, page.limit_money = false, false
    wanted = {0, 0, 0}
  end
  page.limit_tokens = limit_tokens or page.limit_tokens
  page.limit_money = limit_money or page.limit_money
  if spent_tokens then wanted[1] = spent_tokens end
  if spent_money then wanted[2], wanted[3] = spent_money[1], spent_money[2] end
  B.spend(page, use, wanted)
  B.changed_windows[page.key] = page
  local after = B.state(use, page)
  B.history[#B.history + 1] = {now, reset and 'reset' or 'set', account, use[1], reason, {before, after}}
  return {6, before, after}
end

-- Time

-- Holds whose lease has ended are charged; lapsed ones of which nothing counts any more are forgotten.
function B.end_leases()
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', K[4], '-inf', B.exactly(now))) do
    local hold = B.hold_of(id)
    if hold then
      if not hold.lapsed then B.lapse(hold) end
      if B.counts_until(hold) <= now then B.drop(hold) end
    end
  end
end

-- When the first of what is due will be, but for what this call writes.
function B.first_due()
  local first = redis.call('ZRANGEBYSCORE', K[4], '(' .. B.exactly(now), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  return tonumber(first[2] or 'inf')
end

-- What is over, in a portion, found before anything is written.
function B.find_old()
  local old = B.exactly(now)
  local windows = redis.call('ZRANGEBYSCORE', K[2], '-inf', old, 'LIMIT', 0, SWEPT)
  B.need(windows)
  for _, key in ipairs(windows) do B.changed_windows[key] = B.windows[key] end
  B.old_ids = redis.call('ZRANGEBYSCORE', K[5], '-inf', old, 'LIMIT', 0, SWEPT)
  old = B.exactly(now - JOURNAL_KEPT)
  B.old_fields = redis.call('ZRANGEBYSCORE', K[8], '-inf', old, 'LIMIT', 0, SWEPT)
end

function B.forget_old()
  local ids = {}
  for _, id in ipairs(B.old_ids) do
    if not B.buried[id] then ids[#ids + 1] = id end
  end
  B.write('ZREM', K[5], ids)
  B.write('ZREM', K[8], B.old_fields)
  B.write('HDEL', K[7], B.old_fields)
end

-- Raises where a key is of a wrong type before the first is written. Most were read on the way; these are for what is
-- only written.
function B.check_types()
  for _, page in pairs(B.changed_windows) do
    local last = B.last_of(page)
    if not last or page.flat[last] ~= page.kept_until then redis.call('ZCARD', K[2]) break end
  end
  for _, line in pairs(B.journal) do
    if not line.kept then redis.call('ZCARD', K[8]) break end
  end
  if next(B.changed_holds) then redis.call('ZCARD', K[4]) end
  if next(B.buried) then redis.call('ZCARD', K[5]) end
  if #B.history > 0 then redis.call('LLEN', K[6]) end
end

-- Where a step names its windows: a list of uses, or one.
local USES = {4, 4, 6, nil, 3, nil, 3}
local does = {B.reserve, B.top_up, B.settle, B.renew, B.adopt, B.release, B.change}

-- The windows that the steps name.
function B.named(steps)
  local keys, seen = {''}, {}
  local function name(use)
    if not seen[use[1]] then
      seen[use[1]] = true
      keys[#keys + 1] = use[1]
    end
  end
  for _, step in ipairs(steps) do
    local uses = step[USES[step[1]]]
    if step[1] == 5 or step[1] == 7 then
      name(uses)
    elseif uses then
      for _, use in ipairs(uses) do name(use) end
    end
  end
  return keys
end

-- Sets the clock back by hand: what counts is moved to the windows of that time, what is held is charged. The books
-- are begun anew, so that whoever reckons by the time before is refused. Answers {before}, or nothing where a window
-- has come that was not named.
function B.set_back(args)
  local reason, ends = unpack(cmsgpack.unpack(args[1]))
  local kept, version = redis.call('HGET', K[1], ''), nil
  local back = tonumber(args[2])
  if not kept then return cmsgpack.pack({back}) end
  version, now, tombstone = struct.unpack('<ddd', kept)
  if version ~= VERSION then return cmsgpack.pack({false, version}) end
  local before = now
  if before <= back then return cmsgpack.pack({before}) end
  local ids = redis.call('HKEYS', K[3])
  for _, id in ipairs(ids) do
    local hold = B.hold_of(id)
    if not hold.lapsed then B.lapse(hold) end
  end
  local all = redis.call('HGETALL', K[1])
  for i = 1, #all, 2 do
    if all[i] ~= '' then
      local page = B.windows[all[i]] or B.open_page(all[i], all[i + 1])
      if B.last_of(page) then
        if not ends[all[i]] then return cmsgpack.pack({}) end
        local flat, sum = page.flat, page.sum
        page.flat = {flat[1], flat[2], flat[3], ends[all[i]], 0, 0, 0, unpack(sum, SPENT, LONG)}
        page.kept_until = false
        B.changed_windows[all[i]] = page
      end
    end
  end
  -- Known as settled for as long as any lease lasts: what comes late is not charged once more.
  for _, id in ipairs(ids) do B.buried[id] = back + tombstone end
  for _, id in ipairs(redis.call('ZRANGE', K[5], 0, -1)) do B.buried[id] = back + tombstone end
  B.history = {{back, 'clock', '', '', reason, {before, back}}}
  now, born, next_due = back, back, tonumber('inf')
  redis.call('DEL', K[2], K[3], K[4], K[5])
  B.write_windows()
  B.write_records()
  return cmsgpack.pack({before})
end

function B.run(keys, args)
  B.begin(keys)
  if args[4] == 'back' then return B.set_back(args) end
  local steps = cmsgpack.unpack(args[1])
  if args[2] ~= '' then
    now = tonumber(args[2])
  else
    local time = redis.call('TIME')
    now = tonumber(time[1]) + tonumber(time[2]) / E6
  end
  local before = 0
  tombstone, next_due, born = 60, 0, now
  local version
  B.each_portion(B.named(steps), function(portion)
    local kept = redis.call('HMGET', K[1], unpack(portion))
    for i, key in ipairs(portion) do
      if key ~= '' then
        B.open_page(key, kept[i])
      elseif kept[i] then
        version, before, tombstone, next_due = struct.unpack('<dddd', kept[i])
        if version == VERSION then born = select(5, struct.unpack('<ddddd', kept[i])) end
        -- A clock that goes back reopens nothing.
        now = math.max(now, before)
      end
    end
  end)
  if version and version ~= VERSION then return cmsgpack.pack({false, version}) end
  -- Whoever knew these books finds others in their place: what was spent is gone with them.
  if args[3] ~= '' and tonumber(args[3]) ~= born then return cmsgpack.pack({false, 0}) end

  local sweeps = math.floor(now * SWEEPS) ~= math.floor(before * SWEEPS)
  if sweeps then B.find_old() end
  if now >= next_due then
    B.end_leases()
    next_due = B.first_due()
  end
  local answers = {}
  for i, step in ipairs(steps) do answers[i] = does[step[1]](step) end

  B.check_types()
  B.write_holds()
  B.write_windows()
  B.write_records()
  if sweeps then B.forget_old() end
  return cmsgpack.pack({now, answers, born})
end

redis.register_function('penstock_ledger', B.run)
