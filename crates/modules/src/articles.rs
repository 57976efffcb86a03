//! Articles: saved to be read later, with how far one has come and highlights.

use mana_registry::prelude::*;
use mana_registry::{count_words, excerpt};

/// A saved article.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Article {
    /// Where it was found.
    url: WebUrl,
    /// Its heading.
    title: Line<500>,
    /// Its text.
    content: Option<Text<1, 200_000>>,
    /// Who wrote it.
    author: Option<Line<200>>,
    /// Whether it was read, or put out of sight.
    #[serde(default)]
    status: Status,
    /// How much of it was read, in percent.
    progress: Whole<0, 100>,
    /// Words to find it by.
    #[serde(default)]
    tags: Tags<20>,
    /// How many words its text has; counted on writing.
    word_count: usize,
    /// When it was last read to the end.
    finished_at: Option<Timestamp>,
}

impl Record for Article {
    const KIND: &'static str = "articles.article";

    fn words(&self) -> String {
        let Self { url, title, tags, .. } = self;
        let [author, content] = [self.author.as_deref(), self.content.as_deref()].map(Option::unwrap_or_default);
        format!("{title}\n{author}\n{url}\n{content}\n{}", tags.marked())
    }
}

/// What became of an article.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Status {
    #[default]
    Unread,
    Reading,
    Finished,
    Archived,
}

impl Status {
    const fn word(self) -> &'static str {
        match self {
            Self::Unread => "unread",
            Self::Reading => "reading",
            Self::Finished => "finished",
            Self::Archived => "archived",
        }
    }
}

fn percent(number: i64) -> Whole<0, 100> {
    Whole::new(number.clamp(0, 100)).expect("it was just held within the bounds")
}

impl Article {
    /// Takes on a status; progress and the time of finishing follow it.
    fn become_status(&mut self, status: Status, now: Timestamp) {
        if self.status == status {
            return;
        }
        match status {
            Status::Unread => self.progress = percent(0),
            Status::Reading if self.progress.get() == 100 => self.progress = percent(0),
            Status::Finished => {
                self.progress = percent(100);
                self.finished_at = Some(now);
            }
            Status::Reading | Status::Archived => {}
        }
        self.status = status;
    }

    /// Takes on a progress; the status follows it.
    fn become_progress(&mut self, progress: Whole<0, 100>, now: Timestamp) {
        let status = match progress.get() {
            0 => Status::Unread,
            100 => Status::Finished,
            _ => Status::Reading,
        };
        self.become_status(status, now);
        self.progress = progress;
    }

    fn brief(self, about: Option<&str>) -> ArticleBrief {
        ArticleBrief {
            minutes_left: self.minutes_left(),
            excerpt: self.content.as_deref().map(|content| excerpt(content, about)),
            url: self.url,
            title: self.title,
            author: self.author,
            status: self.status,
            progress: self.progress,
            tags: self.tags,
            word_count: self.word_count,
        }
    }

    /// How long the rest takes at 220 words a minute, about the pace of silent reading in German and English.
    fn minutes_left(&self) -> usize {
        let read = usize::try_from(self.progress.get()).unwrap_or(0);
        (self.word_count * (100 - read)).div_ceil(100 * 220)
    }
}

/// An article of a list, with an excerpt of its text.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ArticleBrief {
    /// Where it was found.
    url: WebUrl,
    /// Its heading.
    title: Line<500>,
    /// A piece of its text.
    excerpt: Option<String>,
    /// Who wrote it.
    author: Option<Line<200>>,
    /// Whether it was read.
    status: Status,
    /// How much of it was read, in percent.
    progress: Whole<0, 100>,
    /// Words to find it by.
    tags: Tags<20>,
    /// How many words its text has.
    word_count: usize,
    /// How long the rest takes to read, in minutes.
    minutes_left: usize,
}

/// A passage of an article.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Highlight {
    /// The article, by id.
    article_id: RecordId,
    /// The passage, as it stands in the article.
    text: Text<10, 500>,
    /// A remark.
    note: Option<Text<0, 5000>>,
}

impl Record for Highlight {
    const KIND: &'static str = "articles.highlight";

    fn words(&self) -> String {
        format!("{} {}", self.text, self.note.as_deref().unwrap_or_default())
    }
}

/// White space as one space each: a passage copied from a page breaks its lines elsewhere.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The module.
pub(crate) fn module() -> Module {
    Module::new("articles", "Save articles, read them later, highlight passages.")
        .labels("Articles", "Artikel")
        .tool(write("articles_save", "Save an article to read later: address, title and text. An address that is saved already answers the article there is.", save))
        .tool(read("articles_list", "List saved articles with excerpts, the most recently changed first. Without `status` the archived ones are left out.", list))
        .tool(read("articles_search", "Search saved articles for words in title, author, address, text and tags, the latest change first.", search))
        .tool(read("articles_get", "Read one article with its text and highlights.", get))
        .tool(read("articles_continue", "Continue reading: articles begun and not finished, the last touched first, each with the passage where one stopped.", go_on))
        .tool(write("articles_update", "Change title, text, author or tags of an article. Fields left out stay.", update))
        .tool(write("articles_set_status", "Set an article as unread, reading, finished or archived; any other status brings an archived one back. Doing it twice changes nothing.", set_status).idempotent())
        .tool(write("articles_set_progress", "Set how much of an article was read, in percent; its status follows: 0 is unread, 100 finished.", set_progress).idempotent())
        .tool(write("articles_highlight", "Highlight a passage of an article: 10 to 500 characters that occur in its text. Doing it twice changes nothing.", highlight).idempotent())
        .tool(read("articles_highlight_list", "List highlights, the most recently changed first. Narrow by article or words.", highlight_list))
        .tool(write("articles_highlight_archive", "Take a highlight away.", highlight_archive).idempotent())
}

/// What a new article is made of.
#[derive(Debug, Deserialize, JsonSchema)]
struct NewArticle {
    /// Where it was found.
    url: WebUrl,
    /// Its heading.
    title: Line<500>,
    /// Its text; it is not fetched, so give what you have. Highlights need it.
    content: Option<Text<1, 200_000>>,
    /// Who wrote it.
    author: Option<Line<200>>,
    /// Words to find it by.
    #[serde(default)]
    tags: Tags<20>,
}

/// A saved article.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Saved {
    #[serde(flatten)]
    article: Stored<Article>,
    /// Whether it was saved just now, rather than earlier.
    is_new: bool,
}

async fn save(cx: Cx, new: NewArticle) -> Result<Saved> {
    let records = cx.records::<Article>();
    if let Some(before) = records.first(Filter::new(Order::Recent).is("url", new.url.as_str())).await? {
        let is_missing = before.data.content.is_none() && new.content.is_some();
        let is_hidden = before.data.status == Status::Archived;
        if !is_missing && !is_hidden {
            return Ok(Saved { article: before, is_new: false });
        }
        let now = cx.now();
        let article = records
            .update(before.id, None, |article| {
                if article.content.is_none() {
                    article.content.clone_from(&new.content);
                    article.word_count = article.content.as_deref().map_or(0, count_words);
                }
                if article.status == Status::Archived {
                    article.become_status(Status::Unread, now);
                }
                Ok(())
            })
            .await?;
        return Ok(Saved { article, is_new: false });
    }
    let word_count = new.content.as_deref().map_or(0, count_words);
    let article = Article {
        url: new.url,
        title: new.title,
        content: new.content,
        author: new.author,
        status: Status::Unread,
        progress: percent(0),
        tags: new.tags,
        word_count,
        finished_at: None,
    };
    Ok(Saved { article: records.add(article).await?, is_new: true })
}

/// Which articles to list.
#[derive(Debug, Deserialize, JsonSchema)]
struct Which {
    /// Only articles of this status.
    status: Option<Status>,
    /// Only articles with this tag, whatever its case.
    tag: Option<Tag>,
    #[serde(flatten)]
    paging: Paging,
}

async fn list(cx: Cx, which: Which) -> Result<Page<Stored<ArticleBrief>>> {
    let mut filter = Filter::<Article>::new(Order::Recent);
    filter = match which.status {
        Some(status) => filter.is("status", status.word()),
        None => filter.is_not("status", Status::Archived.word()),
    };
    if let Some(tag) = &which.tag {
        filter = filter.words(&tag.whole());
    }
    let page = cx.records().list(which.paging.of(filter)?).await?;
    Ok(page.map(|article| article.map(|article| article.brief(None))))
}

/// What to search for.
#[derive(Debug, Deserialize, JsonSchema)]
struct Search {
    /// Text that occurs in the article, whatever its case.
    query: Line<500>,
    /// Only articles of this status.
    status: Option<Status>,
    #[serde(flatten)]
    paging: Paging,
}

async fn search(cx: Cx, search: Search) -> Result<Page<Stored<ArticleBrief>>> {
    let mut filter = Filter::<Article>::new(Order::Recent).words(&search.query);
    if let Some(status) = search.status {
        filter = filter.is("status", status.word());
    }
    let page = cx.records().list(search.paging.of(filter)?).await?;
    Ok(page.map(|article| article.map(|article| article.brief(Some(&search.query)))))
}

/// One article.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct One {
    /// The article's id.
    article_id: RecordId,
}

/// An article with its highlights.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct WithHighlights {
    #[serde(flatten)]
    article: Stored<Article>,
    /// How long the rest takes to read, in minutes.
    minutes_left: usize,
    /// Its highlights, the most recently changed first; at most 100.
    highlights: Vec<Stored<Highlight>>,
}

fn highlights_of(article: RecordId) -> Filter<Highlight> {
    Filter::new(Order::Recent).is("articleId", article.to_string())
}

async fn get(cx: Cx, one: One) -> Result<WithHighlights> {
    let article = cx.records::<Article>().get(one.article_id).await?;
    let highlights = cx.records().list(highlights_of(one.article_id).page(100, None)).await?.items;
    Ok(WithHighlights { minutes_left: article.data.minutes_left(), article, highlights })
}

/// An article that was begun.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Begun {
    #[serde(flatten)]
    article: Stored<ArticleBrief>,
    /// The text from where one stopped, at most 1,000 characters; absent if the article has no text.
    passage: Option<String>,
}

async fn go_on(cx: Cx, paging: Paging<5, 20>) -> Result<Page<Begun>> {
    let filter = Filter::<Article>::new(Order::Recent).is("status", Status::Reading.word());
    let page = cx.records().list(paging.of(filter)?).await?;
    Ok(page.map(|article| {
        let progress = article.data.progress;
        let passage = article.data.content.as_deref().map(|content| passage(content, progress));
        Begun { article: article.map(|article| article.brief(None)), passage }
    }))
}

/// Up to 1,000 characters from where this share of the text has been read, from the start of a word.
fn passage(text: &str, progress: Whole<0, 100>) -> String {
    let read = usize::try_from(progress.get()).unwrap_or(0);
    let start = text.chars().count() * read / 100;
    let is_inside = start > 0 && text.chars().nth(start - 1).is_some_and(|c| !c.is_whitespace());
    let rest: String = text.chars().skip(start).take(1000).collect();
    match rest.split_once(char::is_whitespace) {
        Some((_, rest)) if is_inside => rest.trim().to_owned(),
        _ => rest.trim().to_owned(),
    }
}

/// New values for fields of an article.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Change {
    /// The article's id.
    article_id: RecordId,
    /// Only if the article is at this revision.
    expected_rev: Option<i64>,
    /// Its heading.
    title: Option<Line<500>>,
    /// Its text; replaces the one there is. Highlights must still occur in it.
    content: Option<Text<1, 200_000>>,
    /// Who wrote it.
    author: Option<Line<200>>,
    /// All tags; replaces those there are.
    tags: Option<Tags<20>>,
    /// Fields to empty.
    #[serde(default)]
    clear: Vec<Clearable>,
}

/// A field that can be emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum Clearable {
    Author,
    Tags,
}

async fn update(cx: Cx, change: Change) -> Result<Stored<Article>> {
    if let Some(content) = &change.content {
        let content = flat(content);
        let highlights = cx.records::<Highlight>().all(highlights_of(change.article_id)).await?;
        let lost = highlights.iter().filter(|highlight| !content.contains(&flat(&highlight.data.text))).count();
        if lost > 0 {
            let why = format!("{lost} of the highlights do not occur in this text, archive them first");
            return Err(ToolError::field("content", why));
        }
    }
    let records = cx.records::<Article>();
    records
        .update(change.article_id, change.expected_rev, |article| {
            for field in &change.clear {
                match field {
                    Clearable::Author => article.author = None,
                    Clearable::Tags => article.tags = Tags::default(),
                }
            }
            put(&mut article.title, change.title.as_ref());
            put(&mut article.tags, change.tags.as_ref());
            article.author = change.author.clone().or_else(|| article.author.take());
            article.content = change.content.clone().or_else(|| article.content.take());
            article.word_count = article.content.as_deref().map_or(0, count_words);
            Ok(())
        })
        .await
}

/// What became of an article.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct SetStatus {
    /// The article's id.
    article_id: RecordId,
    /// What became of it.
    status: Status,
}

async fn set_status(cx: Cx, set: SetStatus) -> Result<Stored<Article>> {
    let now = cx.now();
    change_if(
        &cx,
        set.article_id,
        |article| article.status != set.status,
        |article| article.become_status(set.status, now),
    )
    .await
}

/// How much of an article was read.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct SetProgress {
    /// The article's id.
    article_id: RecordId,
    /// How much of it was read, in percent.
    progress: Whole<0, 100>,
}

async fn set_progress(cx: Cx, set: SetProgress) -> Result<Stored<Article>> {
    let now = cx.now();
    let is_new = |article: &Article| article.progress != set.progress || article.status == Status::Archived;
    change_if(&cx, set.article_id, is_new, |article| article.become_progress(set.progress, now)).await
}

/// Changes an article only where that makes a difference, so that marking twice leaves no trace.
async fn change_if(
    cx: &Cx,
    id: RecordId,
    differs: impl FnOnce(&Article) -> bool,
    mut change: impl FnMut(&mut Article) + Send,
) -> Result<Stored<Article>> {
    let records = cx.records::<Article>();
    let before = records.get(id).await?;
    if !differs(&before.data) {
        return Ok(before);
    }
    records
        .update(id, None, |article| {
            change(article);
            Ok(())
        })
        .await
}

/// A passage to highlight.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct NewHighlight {
    /// The article's id.
    article_id: RecordId,
    /// The passage, exactly as it stands in the article's text.
    text: Text<10, 500>,
    /// A remark.
    note: Option<Text<0, 5000>>,
}

async fn highlight(cx: Cx, new: NewHighlight) -> Result<Stored<Highlight>> {
    let article = cx.records::<Article>().check("articleId", new.article_id).await?.data;
    let Some(content) = &article.content else {
        return Err(ToolError::field("articleId", "this article has no text yet, give it one with `articles_update`"));
    };
    let passage = flat(&new.text);
    if !flat(content).contains(&passage) {
        return Err(ToolError::field("text", "does not occur in the article, copy a passage of it exactly"));
    }
    let records = cx.records::<Highlight>();
    let known = records.all(highlights_of(new.article_id)).await?;
    let Some(before) = known.into_iter().find(|known| flat(&known.data.text) == passage) else {
        return records.add(Highlight { article_id: new.article_id, text: new.text, note: new.note }).await;
    };
    if new.note.is_none() || new.note == before.data.note {
        return Ok(before);
    }
    records
        .update(before.id, None, |highlight| {
            highlight.note.clone_from(&new.note);
            Ok(())
        })
        .await
}

/// Which highlights to list.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct WhichHighlights {
    /// Only highlights of this article, by id.
    article_id: Option<RecordId>,
    /// Only highlights in which this text occurs, in passage or remark, whatever its case.
    query: Option<Line<500>>,
    #[serde(flatten)]
    paging: Paging,
}

async fn highlight_list(cx: Cx, which: WhichHighlights) -> Result<Page<Stored<Highlight>>> {
    let mut filter = which.article_id.map_or_else(|| Filter::new(Order::Recent), highlights_of);
    if let Some(query) = &which.query {
        filter = filter.words(query);
    }
    cx.records().list(which.paging.of(filter)?).await
}

/// One highlight.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct OneHighlight {
    /// The highlight's id.
    highlight_id: RecordId,
}

async fn highlight_archive(cx: Cx, one: OneHighlight) -> Result<Stored<Highlight>> {
    cx.records().archive(one.highlight_id).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_goes_on_at_the_next_whole_word() {
        let text = "Eins zwei drei vier fünf sechs sieben acht neun zehn";
        assert_eq!(passage(text, percent(0)), text);
        assert_eq!(passage(text, percent(50)), "sieben acht neun zehn", "the word in which one stopped is left out");
        assert_eq!(passage(text, percent(100)), "");
        assert_eq!(passage(&"wort ".repeat(1000), percent(10)).chars().count(), 999);
    }
}
