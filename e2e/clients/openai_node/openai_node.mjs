// The npm package openai, good and bad cases.
//
// usage: node openai_node.mjs BASE_URL EMBEDDINGS COMPLETIONS CHAT WRONG DOWN
//
// Exit status 0 and "ok: N checks", or 1 and what failed.
const [base, embeddings, completions, chat, wrong, down] = process.argv.slice(2);
let checks = 0;
function check(ok, what) {
  checks++;
  if (!ok) {
    console.error("FAIL:", what);
    process.exit(1);
  }
}

// docs/clients.md shows the lines between the marks.
// >>> openai (Node)
import OpenAI from "openai";

const client = new OpenAI({ baseURL: base + "/v1", apiKey: "not needed" });
const vectors = await client.embeddings.create({ model: embeddings, input: ["A headrace leads water", "to the turbines."] });
const text = await client.completions.create({ model: completions, prompt: "I like to [MASK] cars!" });
const answer = await client.chat.completions.create({ model: chat, messages: [{ role: "user", content: "A dog is an [MASK]." }] });
// <<<

check(vectors.data.length === 2 && vectors.data.every((d) => d.embedding.length === 384), "two vectors of 384");
check(text.choices.length === 1 && !text.choices[0].text.includes("[MASK]"), text);
check(answer.choices[0].message.role === "assistant" && Number.isInteger(answer.usage.total_tokens), answer);
const floats = await client.embeddings.create({ model: embeddings, input: ["A headrace leads water"], encoding_format: "float" });
const worst = Math.max(...floats.data[0].embedding.map((x, i) => Math.abs(x - vectors.data[0].embedding[i])));
check(worst < 1e-6, `base64 and float differ by ${worst}`);
check((await client.models.list()).data.some((m) => m.id === embeddings), "the models");

async function throws(kind, call) {
  try {
    await call();
  } catch (problem) {
    check(problem instanceof kind, `want ${kind.name}, got ${problem.constructor.name}: ${problem.message}`);
    return;
  }
  check(false, `want ${kind.name}, got an answer`);
}

const once = { maxRetries: 0 };
await throws(OpenAI.NotFoundError, () => client.embeddings.create({ model: "no-such-model", input: "x" }, once));
await throws(OpenAI.BadRequestError, () => client.chat.completions.create({ model: chat, messages: [] }, once));
await throws(OpenAI.UnprocessableEntityError, () => client.embeddings.create({ model: wrong, input: "A [MASK]." }));
await throws(OpenAI.InternalServerError, () => client.embeddings.create({ model: down, input: "x" }, once));
console.log(`\nok: ${checks} checks`);
