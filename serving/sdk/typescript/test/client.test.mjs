/** Against a service that runs: SERVICE, KEY (of everything) and PHOTO, a file. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import { Likeness, LikenessError } from "../dist/index.js";

const { SERVICE, KEY, PHOTO } = process.env;
const game = new Likeness({ service: SERVICE, key: KEY });
const photo = new File([await readFile(PHOTO)], "me.jpg");

test("a photo becomes a character that is changed, drawn and erased", async () => {
  const made = await game.create(photo, { player: "ann" });
  const { character, etag } = await game.character(made.id);
  assert.deepEqual(character.parameters, made.parameters);
  const changed = await game.change(made.id, { parameters: { nose_width: 0.75 } }, etag);
  assert.equal(changed.parameters.nose_width, 0.75);
  await assert.rejects(game.change(made.id, { parameters: { nose_width: 0 } }, etag), { kind: "changed-since" });
  const [png, glb] = [await game.file(made.id, "png", { size: 64 }), await game.render(changed, "glb")];
  assert.equal(Buffer.from(png.slice(1, 4)).toString(), "PNG");
  assert.equal(Buffer.from(glb.slice(0, 4)).toString(), "glTF");
  const vrm = await game.file(made.id, "vrm", { targets: "faces", lod: 2, name: "Ada", author: "Studio" });
  assert.match(Buffer.from(vrm).toString("latin1"), /"name":"Ada","authors":\["Studio"\]/);
  const { code } = await game.codeFor(made.id, 60);
  assert.equal((await game.characterOfCode(code.toLowerCase())).id, made.id);
  await game.erase(made.id);
  await assert.rejects(game.character(made.id), (error) => error instanceof LikenessError && error.status === 404);
});

test("a player has a token, which is worth no more", async () => {
  const { token } = await game.tokenFor("ben", 60);
  const player = new Likeness({ service: SERVICE, key: token });
  const made = await player.create(photo);
  assert.deepEqual(
    (await game.charactersOf("ben")).map(({ id }) => id),
    [made.id],
  );
  await assert.rejects(player.tokenFor("ann"), { kind: "not-allowed" });
  assert.equal((await game.erasePlayer("ben")).characters, 1);
});

test("several photos, a job, presets and random people", async () => {
  assert.equal((await game.createOfPerson([photo, photo])).photos.length, 2);
  const job = await game.finished((await game.startJob([photo, photo])).id, 0.2);
  assert.deepEqual([job.state, job.results.length], ["done", 2]);
  const [{ name }] = (await game.presets()).filter(({ kind, parameters }) => kind === "person" && "sex" in parameters);
  assert.equal((await game.random({ seed: 7, preset: name })).seed, 7);
  assert.ok((await game.schema()).sliders.length > 100);
});

test("a service that is busy is asked again", async () => {
  let asked = 0;
  const busy = () => Promise.resolve(new Response("{}", { status: 429, headers: { "Retry-After": "0" } }));
  const fetch = (request) => (asked++ < 2 ? busy() : globalThis.fetch(request));
  await new Likeness({ service: SERVICE, key: KEY, fetch }).random({ seed: 1 });
  assert.equal(asked, 3);
  await assert.rejects(new Likeness({ service: SERVICE, key: KEY, fetch: busy, retries: 1 }).random(), { status: 429 });
});
