//! News: articles that somebody has saved, in the order of what he likes to read.

use std::collections::HashMap;

use mana_registry::Cursor;
use mana_registry::prelude::*;

/// An article. Its full text lies in a record of its own, so that a list stays small.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Article {
    /// Where it stands.
    url: WebUrl,
    /// Its headline.
    title: Line<500>,
    /// What it is about, in a few sentences.
    excerpt: Option<Text<0, 2000>>,
    /// The paper or site it comes from.
    source: Line<120>,
    /// Its topic.
    topic: Option<Tag>,
    /// When it was published; when it was saved, if nobody has said.
    published_at: Timestamp,
    /// Whether it was read.
    #[serde(default)]
    is_read: bool,
    /// Whether it is a favourite.
    #[serde(default)]
    is_favorite: bool,
    /// What the reader thinks of it.
    reaction: Option<Reaction>,
    /// The record with the full text, if there is one.
    text_id: Option<RecordId>,
}

impl Record for Article {
    const KIND: &'static str = "news.article";

    fn at(&self) -> Option<Timestamp> {
        Some(self.published_at)
    }

    fn words(&self) -> String {
        let excerpt = self.excerpt.as_deref().unwrap_or_default();
        let topic = self.topic.as_deref().unwrap_or_default();
        format!("{} {excerpt} {} {topic}", self.title, self.source)
    }
}

/// The full text of an article.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
struct FullText {
    /// The text.
    content: Text<1, 200_000>,
}

impl Record for FullText {
    const KIND: &'static str = "news.text";
}

/// What a reader thinks of an article.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Reaction {
    Interested,
    NotInterested,
    Hidden,
}

/// What the readers of this space like.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Preferences {
    /// Topics that come first.
    #[serde(default)]
    liked_topics: Tags<50>,
    /// Topics that are left out.
    #[serde(default)]
    blocked_topics: Tags<50>,
    /// Sources that come first.
    #[serde(default)]
    liked_sources: Tags<50>,
    /// Sources that are left out.
    #[serde(default)]
    blocked_sources: Tags<50>,
}

impl Record for Preferences {
    const KIND: &'static str = "news.preferences";
}

/// The module.
pub(crate) fn module() -> Module {
    Module::new("news", "Save articles and read them in the order of what you like.")
        .labels("News", "Nachrichten")
        .tool(write("news_save", "Save an article: address and headline, and its text if you have it. Saving the same address again changes nothing.", save).idempotent())
        .tool(read("news_list", "List articles, by default the unread ones in the order of your preferences; blocked topics and sources are left out.", list))
        .tool(read("news_search", "Search articles by words in headline, excerpt, source and topic, the latest change first.", search))
        .tool(read("news_get", "Read one article with its full text.", get))
        .tool(write("news_mark", "Mark an article as read or unread, as a favourite or not.", mark).idempotent())
        .tool(write("news_react", "React to an article: what interests you moves its topic and source up in the list, what does not moves them down.", react).idempotent())
        .tool(read("news_preferences", "Your preferences, and the topics and sources of the saved articles with how you reacted to them.", preferences))
        .tool(write("news_preferences_set", "Set liked and blocked topics and sources. Lists left out stay, an empty list empties.", preferences_set).idempotent())
        .tool(write("news_archive", "Put an article out of sight; it can be restored.", archive).idempotent())
        .tool(write("news_restore", "Bring an archived article back.", restore).idempotent())
}

/// What to save.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct NewArticle {
    /// Where it stands.
    url: WebUrl,
    /// Its headline.
    title: Line<500>,
    /// What it is about, in a few sentences.
    excerpt: Option<Text<0, 2000>>,
    /// Its full text.
    content: Option<Text<1, 200_000>>,
    /// The paper or site it comes from; taken from the address if left out.
    source: Option<Line<120>>,
    /// Its topic.
    topic: Option<Tag>,
    /// When it was published, RFC 3339 with offset; now if left out.
    published_at: Option<Timestamp>,
}

/// The host of an address, without `www.`.
fn host(url: &str) -> Option<Line<120>> {
    let host = url.split_once("://")?.1.split(['/', '?', '#']).next()?;
    let host = host.rsplit('@').next()?.split(':').next()?;
    Line::parse(host.strip_prefix("www.").unwrap_or(host)).ok()
}

async fn save(cx: Cx, new: NewArticle) -> Result<Stored<Article>> {
    let records = cx.records::<Article>();
    let same = || Filter::new(Order::Recent).is("url", new.url.as_str());
    if let Some(known) = records.first(same()).await? {
        return Ok(known);
    }
    if let Some(known) = records.first(same().archived(true)).await? {
        return records.restore(known.id).await;
    }
    let Some(source) = new.source.or_else(|| host(&new.url)) else {
        return Err(ToolError::field("source", "expected the name of the paper or site, the address does not tell it"));
    };
    let text_id = match new.content {
        Some(content) => Some(cx.records().add(FullText { content }).await?.id),
        None => None,
    };
    let article = Article {
        url: new.url,
        title: new.title,
        excerpt: new.excerpt,
        source,
        topic: new.topic,
        published_at: new.published_at.unwrap_or_else(|| cx.now()),
        is_read: false,
        is_favorite: false,
        reaction: None,
        text_id,
    };
    records.add(article).await
}

/// Which articles to list.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Which {
    /// Which articles; `unread` if left out.
    state: Option<State>,
    /// In which order: `preferred` (the default; over the newest 1,000) or `newest` first.
    order: Option<Sorting>,
    /// Only articles of this topic.
    topic: Option<Tag>,
    /// Only articles of this source.
    source: Option<Line<120>>,
    /// List the archived articles instead.
    #[serde(default)]
    archived: bool,
    #[serde(flatten)]
    paging: Paging,
}

/// Which articles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum State {
    Unread,
    Read,
    Favorite,
    Hidden,
    All,
}

/// In which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Sorting {
    Preferred,
    Newest,
}

/// How many articles are put in the order of preference: the newest ones.
const RANKED: u32 = 1_000;

/// What one point of preference is worth: an article with it stands where one published so much later would stand.
const POINT_MILLIS: i64 = 12 * 3_600_000;

async fn list(cx: Cx, which: Which) -> Result<Page<Stored<Article>>> {
    let mut filter = Filter::new(Order::Latest).archived(which.archived);
    filter = match which.state.unwrap_or(State::Unread) {
        State::Unread => filter.flag("isRead", false).is_not("reaction", "hidden"),
        State::Read => filter.flag("isRead", true),
        State::Favorite => filter.flag("isFavorite", true),
        State::Hidden => filter.is("reaction", "hidden"),
        State::All => filter,
    };
    if let Some(topic) = &which.topic {
        filter = filter.is("topic", topic.as_str());
    }
    if let Some(source) = &which.source {
        filter = filter.is("source", source.as_str());
    }
    let records = cx.records::<Article>();
    if which.order == Some(Sorting::Newest) {
        return records.list(which.paging.of(filter)?).await;
    }
    let taste = Taste::of(&cx).await?;
    let newest = records.list(filter.page(RANKED, None)).await?.items;
    let mut ranked: Vec<(Cursor, Stored<Article>)> = newest
        .into_iter()
        .filter_map(|article| {
            let points = taste.points(&article.data)?;
            let key = article.data.published_at.plus_millis(points * POINT_MILLIS).as_millis();
            Some((Cursor { key, id: article.id.uuid() }, article))
        })
        .collect();
    ranked.sort_by_key(|(place, _)| std::cmp::Reverse((place.key, place.id)));
    if let Some(after) = which.paging.cursor()? {
        ranked.retain(|(place, _)| (place.key, place.id) < (after.key, after.id));
    }
    let limit = which.paging.limit() as usize;
    let more = ranked.len() > limit;
    ranked.truncate(limit);
    let next_cursor = ranked.last().filter(|_| more).map(|(place, _)| place.to_string());
    Ok(Page { items: ranked.into_iter().map(|(_, article)| article).collect(), next_cursor })
}

/// What the readers like: what they said, and what their reactions tell.
#[derive(Debug, Default)]
struct Taste {
    said: Preferences,
    topics: HashMap<String, i64>,
    sources: HashMap<String, i64>,
}

/// The most points that reactions give or take, for a topic and for a source.
const MOST_LEARNED: i64 = 3;

impl Taste {
    async fn of(cx: &Cx) -> Result<Self> {
        let said = cx.records::<Preferences>().first(Filter::new(Order::Recent)).await?;
        let mut taste = Self { said: said.map(|stored| stored.data).unwrap_or_default(), ..Self::default() };
        for reaction in ["interested", "not_interested"] {
            let recent = Filter::new(Order::Recent).is("reaction", reaction).page(RANKED, None);
            for article in cx.records::<Article>().list(recent).await?.items {
                taste.learn(&article.data);
            }
        }
        Ok(taste)
    }

    fn learn(&mut self, article: &Article) {
        let point = match article.reaction {
            Some(Reaction::Interested) => 1,
            Some(Reaction::NotInterested) => -1,
            Some(Reaction::Hidden) | None => return,
        };
        *self.sources.entry(article.source.to_lowercase()).or_default() += point;
        if let Some(topic) = &article.topic {
            *self.topics.entry(topic.to_lowercase()).or_default() += point;
        }
    }

    /// How much an article is liked; none if it is not to be shown. A liked topic counts 4, a liked source 2, and what
    /// reactions tell of either at most 3.
    fn points(&self, article: &Article) -> Option<i64> {
        let source = article.source.to_lowercase();
        let topic = article.topic.as_deref().map(str::to_lowercase);
        let stands_in = |tags: &Tags<50>, word: &str| tags.as_slice().iter().any(|tag| tag.to_lowercase() == word);
        let learned = |points: &HashMap<String, i64>, word: &str| {
            points.get(word).copied().unwrap_or_default().clamp(-MOST_LEARNED, MOST_LEARNED)
        };
        if stands_in(&self.said.blocked_sources, &source) {
            return None;
        }
        let mut points = learned(&self.sources, &source);
        if stands_in(&self.said.liked_sources, &source) {
            points += 2;
        }
        if let Some(topic) = topic {
            if stands_in(&self.said.blocked_topics, &topic) {
                return None;
            }
            points += learned(&self.topics, &topic);
            if stands_in(&self.said.liked_topics, &topic) {
                points += 4;
            }
        }
        Some(points)
    }
}

/// What to search for.
#[derive(Debug, Deserialize, JsonSchema)]
struct Search {
    /// Words that occur together in the article, whatever their case.
    query: Line<200>,
    #[serde(flatten)]
    paging: Paging,
}

async fn search(cx: Cx, search: Search) -> Result<Page<Stored<Article>>> {
    cx.records().list(search.paging.of(Filter::new(Order::Recent).words(&search.query))?).await
}

/// One article.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct One {
    /// The article's id.
    article_id: RecordId,
}

/// An article with its text.
#[derive(Debug, Serialize, JsonSchema)]
struct WithText {
    #[serde(flatten)]
    article: Stored<Article>,
    /// The full text, if it was saved.
    content: Option<Text<1, 200_000>>,
}

async fn get(cx: Cx, one: One) -> Result<WithText> {
    let article = cx.records::<Article>().get(one.article_id).await?;
    let text = match article.data.text_id {
        Some(id) => cx.records::<FullText>().find(id).await?,
        None => None,
    };
    Ok(WithText { article, content: text.map(|text| text.data.content) })
}

/// How to mark an article.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Mark {
    /// The article's id.
    article_id: RecordId,
    /// Whether it is read; it is marked as read if neither this nor `isFavorite` is given.
    is_read: Option<bool>,
    /// Whether it is a favourite.
    is_favorite: Option<bool>,
}

async fn mark(cx: Cx, mark: Mark) -> Result<Stored<Article>> {
    let records = cx.records::<Article>();
    let before = records.get(mark.article_id).await?;
    let is_favorite = mark.is_favorite.unwrap_or(before.data.is_favorite);
    let is_read = mark.is_read.unwrap_or(before.data.is_read || mark.is_favorite.is_none());
    if (before.data.is_read, before.data.is_favorite) == (is_read, is_favorite) {
        return Ok(before);
    }
    records
        .update(mark.article_id, None, |article| {
            article.is_read = is_read;
            article.is_favorite = is_favorite;
            Ok(())
        })
        .await
}

/// A reaction to an article.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct React {
    /// The article's id.
    article_id: RecordId,
    /// What you think of it; `hidden` takes only this article out of the list. Left out, the reaction is taken back.
    reaction: Option<Reaction>,
}

async fn react(cx: Cx, react: React) -> Result<Stored<Article>> {
    let records = cx.records::<Article>();
    let before = records.get(react.article_id).await?;
    if before.data.reaction == react.reaction {
        return Ok(before);
    }
    records
        .update(react.article_id, None, |article| {
            article.reaction = react.reaction;
            Ok(())
        })
        .await
}

/// A topic or source of the saved articles.
#[derive(Debug, Serialize, JsonSchema)]
struct Known {
    /// Its name.
    name: String,
    /// How many of the newest 1,000 articles belong to it.
    articles: usize,
    /// Reactions `interested` minus reactions `not_interested`.
    liking: i64,
}

/// Preferences and what there is to prefer.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Overview {
    #[serde(flatten)]
    preferences: Preferences,
    /// The topics of the saved articles, the most frequent first.
    topics: Vec<Known>,
    /// The sources of the saved articles, the most frequent first.
    sources: Vec<Known>,
}

fn known(names: impl Iterator<Item = String>, liking: &HashMap<String, i64>) -> Vec<Known> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    let liking = |name: &str| liking.get(&name.to_lowercase()).copied().unwrap_or_default();
    let mut known: Vec<Known> =
        counts.into_iter().map(|(name, articles)| Known { liking: liking(&name), name, articles }).collect();
    known.sort_by(|a, b| (b.articles, &a.name).cmp(&(a.articles, &b.name)));
    known.truncate(100);
    known
}

async fn preferences(cx: Cx, _: Nothing) -> Result<Overview> {
    let taste = Taste::of(&cx).await?;
    let articles = cx.records::<Article>().list(Filter::new(Order::Latest).page(RANKED, None)).await?.items;
    let topics = articles.iter().filter_map(|article| article.data.topic.as_ref().map(ToString::to_string));
    let topics = known(topics, &taste.topics);
    let sources = known(articles.iter().map(|article| article.data.source.to_string()), &taste.sources);
    Ok(Overview { preferences: taste.said, topics, sources })
}

/// New preferences.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct NewPreferences {
    /// Topics that come first.
    liked_topics: Option<Tags<50>>,
    /// Topics that are left out.
    blocked_topics: Option<Tags<50>>,
    /// Sources that come first.
    liked_sources: Option<Tags<50>>,
    /// Sources that are left out.
    blocked_sources: Option<Tags<50>>,
}

impl NewPreferences {
    fn over(&self, old: &Preferences) -> Result<Preferences> {
        let take = |new: &Option<Tags<50>>, old: &Tags<50>| new.clone().unwrap_or_else(|| old.clone());
        let new = Preferences {
            liked_topics: take(&self.liked_topics, &old.liked_topics),
            blocked_topics: take(&self.blocked_topics, &old.blocked_topics),
            liked_sources: take(&self.liked_sources, &old.liked_sources),
            blocked_sources: take(&self.blocked_sources, &old.blocked_sources),
        };
        let mut faults = Vec::new();
        for (field, liked, blocked) in [
            ("blockedTopics", &new.liked_topics, &new.blocked_topics),
            ("blockedSources", &new.liked_sources, &new.blocked_sources),
        ] {
            let both = |tag: &&Tag| liked.as_slice().iter().any(|liked| liked.to_lowercase() == tag.to_lowercase());
            if let Some(tag) = blocked.as_slice().iter().find(both) {
                faults.push(FieldError::new(field, format!("`{tag}` cannot be liked and blocked")));
            }
        }
        if faults.is_empty() { Ok(new) } else { Err(ToolError::Invalid(faults)) }
    }
}

async fn preferences_set(cx: Cx, new: NewPreferences) -> Result<Stored<Preferences>> {
    let records = cx.records::<Preferences>();
    match records.first(Filter::new(Order::Recent)).await? {
        None => records.add(new.over(&Preferences::default())?).await,
        Some(old) => {
            records
                .update(old.id, None, |preferences| {
                    *preferences = new.over(preferences)?;
                    Ok(())
                })
                .await
        }
    }
}

async fn archive(cx: Cx, one: One) -> Result<Stored<Article>> {
    cx.records().archive(one.article_id).await
}

async fn restore(cx: Cx, one: One) -> Result<Stored<Article>> {
    cx.records().restore(one.article_id).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_names_the_source() {
        for (url, source) in [
            ("https://www.zeitung.test/a?b", Some("zeitung.test")),
            ("http://me@blog.test:8080#x", Some("blog.test")),
            ("nothing", None),
        ] {
            assert_eq!(host(url).as_deref(), source, "{url}");
        }
    }
}
