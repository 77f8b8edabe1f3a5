// Swagger UI over /openapi.json. The key that is entered stays in this tab's memory; nothing is loaded from elsewhere.
"use strict";

const STREAM_S = 10;
const dark = matchMedia("(prefers-color-scheme: dark)");

function followTheme() {
  document.documentElement.classList.toggle("dark-mode", dark.matches);
}

// Swagger UI knows no x-codeSamples, but shows Markdown.
function withSamples(operation) {
  const samples = (operation["x-codeSamples"] || [])
    .map(({ label, lang, source }) => `**${label}**\n\n\`\`\`${lang.toLowerCase()}\n${source}\n\`\`\``);
  operation.description = [operation.description || "", ...samples].join("\n\n");
}

// The stream has no end, and an answer is shown once it has one: what comes within some seconds is shown.
async function readForAWhile(url, request) {
  const stop = new AbortController();
  const answer = await fetch(url, { ...request, signal: stop.signal });
  if (!answer.ok) {
    return answer;
  }
  const timer = setTimeout(() => stop.abort(), STREAM_S * 1000);
  const decoder = new TextDecoder();
  let text = "";
  try {
    const reader = answer.body.getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      text += decoder.decode(part.value, { stream: true });
    }
  } catch (error) {
    if (error.name !== "AbortError") {
      throw error;
    }
    text += `\n: this page stopped reading after ${STREAM_S} s\n`;
  } finally {
    clearTimeout(timer);
  }
  return new Response(text, { status: answer.status, statusText: answer.statusText, headers: answer.headers });
}

async function show() {
  const base = location.href.replace(/\/docs(\?.*|#.*)?$/, "");
  const answer = await fetch("openapi.json");
  if (!answer.ok) {
    throw new Error(`openapi.json: ${answer.status}`);
  }
  const spec = await answer.json();
  spec.servers = [{ url: base, description: "the one that you read this from" }];
  for (const operations of Object.values(spec.paths)) {
    Object.values(operations).forEach(withSamples);
  }
  SwaggerUIBundle({
    spec,
    domNode: document.getElementById("api"),
    presets: [SwaggerUIBundle.presets.apis],
    layout: "BaseLayout",
    deepLinking: true,
    docExpansion: "list",
    defaultModelsExpandDepth: 0,
    displayRequestDuration: true,
    filter: true,
    persistAuthorization: false,
    queryConfigEnabled: false,
    requestSnippetsEnabled: false,
    tryItOutEnabled: true,
    validatorUrl: null,
    requestInterceptor(request) {
      request.credentials = "omit";
      if (new URL(request.url).pathname.endsWith("/v1/stream")) {
        request.userFetch = readForAWhile;
      }
      return request;
    },
  });
}

dark.addEventListener("change", followTheme);
followTheme();
show().catch((error) => {
  document.getElementById("api").textContent = `The page cannot be shown: ${error.message}`;
});
