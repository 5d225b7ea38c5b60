//! Pages, leases and the position in Redis: each call is one script, and so one step.

use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};
use redis::{Script, Value};
use serde::{Deserialize, Serialize};

use super::key::PageKey;
use super::page::{Body, Page};
use super::second::{Ask, Found, Noted, Offer, Opened};
use crate::link::LinkError;
use crate::remote::Remote;
use crate::tags::{Generation, Generations, Tag};

/// The page if it is young and every tag has the generation that it was kept with; else the lease and what is to be noted.
/// The last quarter of a life is for rendering the next one.
/// KEYS: page, lease, position, tags. ARGV: prefix of tags, owner, lease in ms, whether to insist, time to live of tags in
/// ms, a fresh position, a fresh value for each tag.
const OPEN: &str = r"
local page = redis.call('HMGET', KEYS[1], 'at', 'life', 'tags', 'generations')
if page[1] then
  local time = redis.call('TIME')
  local age = time[1] * 1000 + math.floor(time[2] / 1000) - tonumber(page[1])
  if age >= 0 and age * 4 < tonumber(page[2]) * 3 then
    local held, n, current = {}, 0, true
    for generation in string.gmatch(page[4], '%S+') do held[#held + 1] = generation end
    for tag in string.gmatch(page[3], '[^\n]+') do
      n = n + 1
      if redis.call('GET', ARGV[1] .. tag) ~= held[n] then current = false break end
    end
    if current then return {1, age, redis.call('HMGET', KEYS[1], 'meta', 'generations', 'identity', 'gzip', 'brotli')} end
  end
end
if ARGV[4] == '0' then
  if not redis.call('SET', KEYS[2], ARGV[2], 'NX', 'PX', ARGV[3]) then return {2} end
else
  redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
end
local answer = {3}
for i = 3, #KEYS do
  local held = redis.call('GET', KEYS[i])
  if not held then
    held = ARGV[i + 3]
    redis.call('SET', KEYS[i], held, 'PX', ARGV[5])
  end
  answer[#answer + 1] = held
end
return answer";

/// Gives the lease back, compares what was noted, and keeps the page.
/// KEYS: page, lease, position, tags of the page. ARGV: owner, position, age in ms, life in ms, time left in ms, time to live
/// of tags in ms, tags, meta, the bodies (an empty one is none), then for each tag what was noted (empty: nothing) and a fresh
/// value.
const KEEP: &str = r"
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
local moved = redis.call('GET', KEYS[3]) ~= ARGV[2]
local generations = {}
for i = 4, #KEYS do
  local noted, fresh = ARGV[2 * i + 4], ARGV[2 * i + 5]
  local held = redis.call('GET', KEYS[i])
  if noted ~= '' then
    if held ~= noted then return false end
  elseif moved then
    return false
  elseif not held then
    held = fresh
    redis.call('SET', KEYS[i], held, 'PX', ARGV[6])
  end
  generations[#generations + 1] = held
end
local time = redis.call('TIME')
local at = time[1] * 1000 + math.floor(time[2] / 1000) - tonumber(ARGV[3])
local joined = table.concat(generations, ' ')
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'at', string.format('%.0f', at), 'life', ARGV[4], 'tags', ARGV[7], 'generations', joined,
  'meta', ARGV[8], 'identity', ARGV[9])
if ARGV[10] ~= '' then redis.call('HSET', KEYS[1], 'gzip', ARGV[10]) end
if ARGV[11] ~= '' then redis.call('HSET', KEYS[1], 'brotli', ARGV[11]) end
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return joined";

/// KEYS: lease. ARGV: owner.
const LEAVE: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end";

pub(crate) struct PageScripts {
    open: Script,
    keep: Script,
    leave: Script,
}

impl PageScripts {
    pub(crate) fn new() -> Self {
        Self { open: Script::new(OPEN), keep: Script::new(KEEP), leave: Script::new(LEAVE) }
    }
}

/// What is kept beside the bodies.
#[derive(Debug, Serialize, Deserialize)]
struct Meta {
    status: u16,
    content_type: String,
    headers: Vec<(String, String)>,
    tags: Vec<Tag>,
    life_ms: u64,
    hard_ms: u64,
}

impl Remote {
    fn page_keys(&self, key: &PageKey) -> [String; 3] {
        let prefix = self.prefix();
        [format!("{prefix}page:{key}"), format!("{prefix}lease:{key}"), self.position_key()]
    }

    pub(crate) async fn generations(&self, tags: &[Tag]) -> Result<Vec<Option<Generation>>, LinkError> {
        if tags.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Vec<String> = tags.iter().map(|tag| self.tag_key(tag)).collect();
        let held: Vec<Option<String>> = self
            .link()
            .call(async |mut connection| redis::cmd("MGET").arg(keys).query_async(&mut connection).await)
            .await?;
        Ok(held.into_iter().map(|text| text.and_then(|text| text.parse().ok())).collect())
    }

    pub(crate) async fn open_page(&self, ask: &Ask, fresh: &Generations) -> Result<Opened, LinkError> {
        let owner = fresh.fresh();
        let mut script = self.pages().open.prepare_invoke();
        for key in self.page_keys(&ask.key) {
            script.key(key);
        }
        script.arg(format!("{}tag:", self.prefix())).arg(owner.to_string()).arg(millis(ask.lease));
        script.arg(u8::from(ask.insist)).arg(self.tag_ttl_ms()).arg(fresh.fresh().to_string());
        for tag in &ask.tags {
            script.key(self.tag_key(tag)).arg(fresh.fresh().to_string());
        }
        let answer: Value = self.link().call(async |mut connection| script.invoke_async(&mut connection).await).await?;
        // An answer that this build can't read (a newer writer's page) is as good as none.
        Ok(read(answer, owner).unwrap_or(Opened::Granted(Noted {
            owner,
            position: fresh.fresh(),
            generations: ask.tags.iter().map(|_| fresh.fresh()).collect(),
        })))
    }

    pub(crate) async fn keep_page(
        &self,
        offer: &Offer,
        fresh: &Generations,
    ) -> Result<Option<Vec<Generation>>, LinkError> {
        let page = &offer.page;
        let Some(meta) = meta(page, offer) else { return Ok(None) };
        let mut script = self.pages().keep.prepare_invoke();
        for key in self.page_keys(&offer.key) {
            script.key(key);
        }
        let tags: Vec<&str> = page.tags.iter().map(Tag::as_str).collect();
        script.arg(offer.owner.to_string()).arg(offer.position.to_string()).arg(millis(offer.age));
        script.arg(millis(offer.life)).arg(millis(offer.remaining()).max(1)).arg(self.tag_ttl_ms());
        script.arg(tags.join("\n")).arg(meta).arg(&page.identity.bytes[..]);
        for body in [&page.gzip, &page.brotli] {
            script.arg(body.as_ref().map_or(&[][..], |body| &body.bytes[..]));
        }
        for (tag, noted) in page.tags.iter().zip(&offer.noted) {
            let noted = noted.map_or_else(String::new, |noted| noted.to_string());
            script.key(self.tag_key(tag)).arg(noted).arg(fresh.fresh().to_string());
        }
        let kept: Option<String> =
            self.link().call(async |mut connection| script.invoke_async(&mut connection).await).await?;
        Ok(kept.and_then(|joined| joined.split_whitespace().map(|text| text.parse().ok()).collect()))
    }

    pub(crate) async fn leave_page(&self, key: &PageKey, owner: Generation) -> Result<(), LinkError> {
        let [_, lease, _] = self.page_keys(key);
        let mut script = self.pages().leave.key(lease);
        script.arg(owner.to_string());
        self.link().call(async |mut connection| script.invoke_async(&mut connection).await).await
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn meta(page: &Page, offer: &Offer) -> Option<Vec<u8>> {
    let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
    let headers = page.headers.iter().map(|(name, value)| Some((name.as_str().to_owned(), text(value)?)));
    let meta = Meta {
        status: page.status.as_u16(),
        content_type: text(&page.content_type)?,
        headers: headers.collect::<Option<_>>()?,
        tags: page.tags.clone(),
        life_ms: millis(offer.life),
        hard_ms: millis(offer.hard),
    };
    serde_json::to_vec(&meta).ok()
}

fn read(answer: Value, owner: Generation) -> Option<Opened> {
    let Value::Array(mut parts) = answer else { return None };
    let Value::Int(kind) = parts.first()? else { return None };
    match kind {
        1 => {
            let page = parts.pop()?;
            let Value::Int(age) = parts.pop()? else { return None };
            found(page, Duration::from_millis(u64::try_from(age).ok()?)).map(|found| Opened::Current(Box::new(found)))
        }
        2 => Some(Opened::Busy),
        _ => {
            let mut noted = parts.into_iter().skip(1).map(|part| text(part)?.parse().ok());
            let position = noted.next()??;
            Some(Opened::Granted(Noted { owner, position, generations: noted.collect::<Option<_>>()? }))
        }
    }
}

fn found(page: Value, age: Duration) -> Option<Found> {
    let Value::Array(fields) = page else { return None };
    let mut fields = fields.into_iter();
    let meta: Meta = serde_json::from_slice(&bytes(fields.next()?)?).ok()?;
    let generations: Vec<Generation> =
        text(fields.next()?)?.split_whitespace().map(|text| text.parse().ok()).collect::<Option<_>>()?;
    if generations.len() != meta.tags.len() {
        return None;
    }
    let mut bodies = fields.map(|body| bytes(body).map(|body| Body::new(&body)));
    let identity = bodies.next()??;
    let (gzip, brotli) = (bodies.next()?, bodies.next()?);
    let header = |(name, value): (String, String)| Some((name.parse::<HeaderName>().ok()?, value.parse().ok()?));
    let page = Page {
        status: StatusCode::from_u16(meta.status).ok()?,
        content_type: meta.content_type.parse().ok()?,
        headers: meta.headers.into_iter().map(header).collect::<Option<_>>()?,
        tags: meta.tags,
        identity,
        gzip,
        brotli,
    };
    let (life, hard) = (Duration::from_millis(meta.life_ms), Duration::from_millis(meta.hard_ms));
    Some(Found { page, generations, age, life, hard })
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}

fn text(value: Value) -> Option<String> {
    String::from_utf8(bytes(value)?).ok()
}
