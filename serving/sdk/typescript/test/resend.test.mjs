/** What is sent again, by a service that is made up. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { Likeness } from "../dist/index.js";

const answer = (status, body) => new Response(JSON.stringify(body), { status, headers: { "Retry-After": "1" } });
const cut = () => new Response(new ReadableStream({ start: (body) => body.error(new TypeError("broken")) }));
const lost = () => Promise.reject(new TypeError("broken"));

/** A client of a service that answers so, one after the other, and the keys of what it was sent. */
function client(...answers) {
  const keys = [];
  const fetch = async (request) => {
    keys.push(request.headers.get("Idempotency-Key"));
    await request.formData();
    return answers.shift()();
  };
  return { game: new Likeness({ service: "http://game", fetch }), keys };
}

test("a photo whose answer was lost is sent again with its key", async (context) => {
  const pauses = [];
  context.mock.method(globalThis, "setTimeout", (act, milliseconds) =>
    queueMicrotask(() => pauses.push(milliseconds) && act()),
  );
  const atWork = () => answer(409, { type: "/problems/in-progress" });
  const { game, keys } = client(
    lost,
    cut,
    atWork,
    () => answer(201, { id: "made" }),
    () => answer(201, {}),
  );
  assert.equal((await game.create(new Blob(["me"]))).id, "made");
  assert.deepEqual([keys.length, new Set(keys).size, pauses], [4, 1, [1000, 2000, 4000]]);
  await game.create(new Blob(["me"]), { idempotencyKey: "mine" });
  assert.equal(keys[4], "mine");
});

test("what may have been done already is not sent again", async () => {
  const { game, keys } = client(lost);
  await assert.rejects(game.createOfPerson([new Blob(["me"]), new Blob(["me"])]), TypeError);
  assert.deepEqual(keys, [null]);
});
