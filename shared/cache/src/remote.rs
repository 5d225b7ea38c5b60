//! The cache that replicas share, in Redis.

use bytes::Bytes;
use model::OrderId;
use redis::{Client, Script};

use crate::condition;
use crate::config::Config;
use crate::link::{Link, LinkError};
use crate::pages::PageScripts;
use crate::status::OrderStatus;
use crate::tags::{Generation, Generations, Tag, seen_key};

/// Compares and writes as one step, so that a late writer never lowers a version. A value is the version, a space and the
/// body. One call for many statuses: a call each would cost Redis and this process several times as much. The first version
/// is above none that can be held, so it is written where there is nothing, without a look: most statuses are new orders.
/// KEYS: statuses. ARGV: time to live in ms, then a version and a body for each.
const PUT_STATUSES: &str = r"
for i = 1, #KEYS do
  local version, value = ARGV[2 * i], ARGV[2 * i] .. ' ' .. ARGV[2 * i + 1]
  if version == '1' then
    redis.call('SET', KEYS[i], value, 'PX', ARGV[1], 'NX')
  else
    local held = redis.call('GET', KEYS[i])
    if not held or tonumber(string.match(held, '^%d+')) < tonumber(version) then
      redis.call('SET', KEYS[i], value, 'PX', ARGV[1])
    end
  end
end";

/// Reads a tag's generation; a missing one is given a fresh value that no entry was ever rendered with.
/// KEYS: tag. ARGV: fresh value, time to live in ms.
const GENERATION: &str = r"
local held = redis.call('GET', KEYS[1])
if held then return held end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]";

/// Looks at the versions of what changed and purges their tag as one step: were they two, a worker that dies between them
/// would find its own version on redelivery and leave the tag as it is.
/// KEYS: position, tag, aggregates. ARGV: time to live in ms, fresh values for position and tag, a version for each
/// aggregate.
const PURGE: &str = r"
local newer = 0
for i = 3, #KEYS do
  local held = redis.call('GET', KEYS[i])
  if not held or tonumber(held) < tonumber(ARGV[i + 1]) then
    redis.call('SET', KEYS[i], ARGV[i + 1], 'PX', ARGV[1])
    newer = 1
  end
end
if newer == 1 then
  for i = 1, 2 do redis.call('SET', KEYS[i], ARGV[i + 1], 'PX', ARGV[1]) end
end
return newer";

/// How long the key of a write that was tried is kept.
const PROBE_MS: u64 = 1_000;

pub(crate) struct Remote {
    link: Link,
    prefix: String,
    status_ttl_ms: u64,
    tag_ttl_ms: u64,
    put_statuses: Script,
    generation: Script,
    purge: Script,
    pages: PageScripts,
}

impl Remote {
    pub(crate) fn new(client: Client, config: &Config) -> Self {
        Self {
            link: Link::start(client, config),
            prefix: config.key_prefix.clone(),
            status_ttl_ms: config.status_ttl_s.saturating_mul(1_000),
            tag_ttl_ms: config.tag_ttl_s.saturating_mul(1_000),
            put_statuses: Script::new(PUT_STATUSES),
            generation: Script::new(GENERATION),
            purge: Script::new(PURGE),
            pages: PageScripts::new(),
        }
    }

    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    pub(crate) async fn examine(&self) -> Result<Vec<&'static str>, LinkError> {
        let probe = format!("{}probe", self.prefix);
        let told = self.link.call(async move |mut connection| {
            redis::cmd("SET").arg(probe).arg("").arg("PX").arg(PROBE_MS).exec_async(&mut connection).await?;
            // Not CONFIG, which managed servers refuse; and a user may be refused this.
            let info = redis::cmd("INFO").arg("memory").query_async::<String>(&mut connection).await;
            Ok(info.unwrap_or_default())
        });
        Ok(condition::warnings(&told.await?))
    }

    pub(crate) async fn put_statuses(&self, statuses: &[OrderStatus]) -> Result<(), LinkError> {
        let mut script = self.put_statuses.arg(self.status_ttl_ms);
        for status in statuses {
            let Ok(body) = serde_json::to_vec(status) else { continue };
            script.key(self.status_key(status.order_id)).arg(status.version).arg(body);
        }
        self.link.call(async |mut connection| script.invoke_async(&mut connection).await).await
    }

    /// A body that this build can't read (a newer writer) is a miss.
    pub(crate) async fn get_status(&self, id: OrderId) -> Result<Option<OrderStatus>, LinkError> {
        let key = self.status_key(id);
        let held: Option<Bytes> = self
            .link
            .call(async |mut connection| redis::cmd("GET").arg(key).query_async(&mut connection).await)
            .await?;
        let body = held.as_deref().and_then(|held| held.splitn(2, |byte| *byte == b' ').nth(1));
        Ok(body.and_then(|body| serde_json::from_slice(body).ok()))
    }

    pub(crate) async fn generation(&self, tag: &Tag, fresh: &Generations) -> Result<Generation, LinkError> {
        let mut script = self.generation.key(self.tag_key(tag));
        script.arg(fresh.fresh().to_string()).arg(self.tag_ttl_ms);
        let text: String = self.link.call(async |mut connection| script.invoke_async(&mut connection).await).await?;
        Ok(text.parse().unwrap_or_else(|()| fresh.fresh()))
    }

    pub(crate) async fn bump(&self, tags: &[Tag], fresh: &Generations) -> Result<(), LinkError> {
        let mut pipeline = redis::pipe();
        // All or nothing, and the position with them.
        pipeline.atomic();
        pipeline.cmd("SET").arg(self.position_key()).arg(fresh.fresh().to_string()).arg("PX").arg(self.tag_ttl_ms);
        for tag in tags {
            pipeline.cmd("SET").arg(self.tag_key(tag)).arg(fresh.fresh().to_string()).arg("PX").arg(self.tag_ttl_ms);
        }
        self.link.call(async |mut connection| pipeline.query_async(&mut connection).await).await
    }

    /// One call: as many versions of one tag as Redis looks at in a millisecond or so.
    pub(crate) async fn purge(
        &self,
        tag: &Tag,
        versions: &[(&String, &i64)],
        fresh: &Generations,
    ) -> Result<bool, LinkError> {
        let mut script = self.purge.key(self.position_key());
        script.key(self.tag_key(tag)).arg(self.tag_ttl_ms);
        script.arg(fresh.fresh().to_string()).arg(fresh.fresh().to_string());
        for (aggregate, version) in versions {
            script.key(format!("{}seen:{}", self.prefix, seen_key(aggregate, tag))).arg(**version);
        }
        let newer: u8 = self.link.call(async |mut connection| script.invoke_async(&mut connection).await).await?;
        Ok(newer == 1)
    }

    fn status_key(&self, id: OrderId) -> String {
        format!("{}order:{id}", self.prefix)
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(crate) fn pages(&self) -> &PageScripts {
        &self.pages
    }

    pub(crate) fn tag_ttl_ms(&self) -> u64 {
        self.tag_ttl_ms
    }

    /// What every purge of any tag changes.
    pub(crate) fn position_key(&self) -> String {
        format!("{}purged", self.prefix)
    }

    pub(crate) fn tag_key(&self, tag: &Tag) -> String {
        format!("{}tag:{tag}", self.prefix)
    }
}
