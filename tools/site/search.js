// Searches the documents in the page itself, without a worker or a request: both are forbidden to file:// pages.
// Needs lunr.js and search_index.js before it; takes the place of mkdocs' own main.js.
"use strict";
document.addEventListener("DOMContentLoaded", function () {
  const input = document.getElementById("mkdocs-search-query");
  const output = document.getElementById("mkdocs-search-results");
  const AROUND = 100;
  const MOST = 20;
  // Each section has an entry; that of the whole page would only repeat them.
  const sections = searchIndex.docs.filter((each) => each.location.includes("#"));
  const documents = new Map(sections.map((each) => [each.location, each]));
  let index = null;

  function makeIndex() {
    return lunr(function () {
      this.ref("location");
      this.field("title", { boost: 5 });
      this.field("text");
      // Whole names and beginnings of words, instead of stems: `S32S_CHANGED_FILE` is no English word.
      this.pipeline.reset();
      this.pipeline.add(lunr.trimmer);
      this.searchPipeline.reset();
      sections.forEach((each) => this.add(each));
    });
  }

  // Every word must be there, or a word that begins so, since people search while they type.
  function find(words) {
    const { presence, wildcard } = lunr.Query;
    return index.query(function (query) {
      words.forEach((word) => {
        query.term(word, { presence: presence.REQUIRED, wildcard: wildcard.TRAILING });
        query.term(word, { boost: 10 });
      });
    });
  }

  function excerpt(text, word) {
    const at = Math.max(0, text.toLowerCase().indexOf(word.toLowerCase()) - AROUND);
    return (at ? "... " : "") + text.slice(at, at + 3 * AROUND).trim() + " ...";
  }

  function show(found, word) {
    output.replaceChildren();
    found.slice(0, MOST).forEach(({ ref }) => {
      const { title, text } = documents.get(ref);
      const article = document.createElement("article");
      const link = document.createElement("a");
      const summary = document.createElement("p");
      link.href = base_url.replace(/\/?$/, "/") + ref;
      link.textContent = title;
      summary.textContent = excerpt(text, word);
      article.append(link, summary);
      output.append(article);
    });
    if (!found.length) {
      output.textContent = output.dataset.noResultsText;
    }
  }

  function search() {
    const words = lunr.tokenizer(input.value).map((token) => lunr.trimmer(token).toString()).filter(Boolean);
    if (words.join("").length < 2) {
      output.replaceChildren();
      return;
    }
    index = index || makeIndex();
    show(find(words), words[0]);
  }

  input.addEventListener("input", search);
  input.form.addEventListener("submit", (event) => event.preventDefault());
});
