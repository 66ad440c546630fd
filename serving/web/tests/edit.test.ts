import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { Editor } from "../src/edit/editor";
import { History } from "../src/edit/history";
import { Saver, type SaveState } from "../src/edit/saver";
import type { Difference } from "../src/edit/settings";

const READ = { parameters: { nose: 0.4, chin: 0.5 }, discrete: { hair: "short" } };

describe("history", () => {
  it("goes back and forth, and a new step ends the way forth", () => {
    const history = new History(1);
    history.take(2);
    history.take(3);
    expect(history.undo()).toBe(2);
    expect(history.redo()).toBe(3);
    history.undo();
    history.take(4);
    expect(history.canRedo).toBe(false);
    expect([history.undo(), history.undo(), history.undo()]).toEqual([2, 1, 1]);
  });

  it("takes steps with the same mark for one, until sealed", () => {
    const history = new History(0);
    for (const step of [1, 2, 3]) history.take(step, "nose");
    history.seal();
    history.take(4, "nose");
    expect([history.undo(), history.undo()]).toEqual([3, 0]);
  });
});

describe("the editor", () => {
  it("undoes a whole drag at once", () => {
    const editor = new Editor(READ);
    for (const value of [0.5, 0.6, 0.7]) editor.slide("nose", value);
    editor.settle();
    editor.slide("nose", 0.8);
    editor.undo();
    expect(editor.now.parameters["nose"]).toBe(0.7);
    editor.undo();
    expect(editor.now).toEqual(READ);
  });

  it("resets to what the photo gave, one or all, and can undo that", () => {
    const editor = new Editor(READ);
    editor.slide("nose", 0.9);
    editor.slide("chin", 0.1);
    editor.choose("hair", "long");
    expect(editor.changed).toEqual(new Set(["nose", "chin", "hair"]));
    editor.reset(["chin"]);
    expect(editor.changed).toEqual(new Set(["nose", "hair"]));
    editor.reset();
    expect(editor.changed.size).toBe(0);
    editor.undo();
    expect(editor.now.discrete["hair"]).toBe("long");
  });

  it("makes no step of what changes nothing", () => {
    const editor = new Editor(READ);
    editor.choose("hair", "short");
    editor.reset();
    expect(editor.canUndo).toBe(false);
  });
});

describe("the saver", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  function saver(send: (edit: Difference) => Promise<unknown>): [Saver, SaveState[]] {
    const states: SaveState[] = [];
    return [new Saver(READ, send, (state) => states.push(state)), states];
  }

  it("sends once after many edits, and only what differs", async () => {
    const sent: Difference[] = [];
    const [keeper] = saver((edit) => Promise.resolve(sent.push(edit)));
    for (const nose of [0.5, 0.6, 0.7]) keeper.want({ ...READ, parameters: { ...READ.parameters, nose } });
    await vi.runAllTimersAsync();
    expect(sent).toEqual([{ parameters: { nose: 0.7 }, discrete: {} }]);
  });

  it("sends at once when a download asks, and waits for it", async () => {
    const sent: Difference[] = [];
    const [keeper] = saver((edit) => Promise.resolve(sent.push(edit)));
    keeper.want({ ...READ, discrete: { hair: "long" } });
    await keeper.flush();
    expect(sent).toEqual([{ parameters: {}, discrete: { hair: "long" } }]);
  });

  it("keeps what could not be sent, for the next try", async () => {
    let answers = false;
    const sent: Difference[] = [];
    const [keeper, states] = saver((edit) =>
      answers ? Promise.resolve(sent.push(edit)) : Promise.reject(new Error("away")),
    );
    keeper.want({ ...READ, discrete: { hair: "long" } });
    await vi.runAllTimersAsync();
    expect(states.at(-1)).toBe("failed");
    answers = true;
    await keeper.flush();
    expect(sent).toHaveLength(1);
    expect(states.at(-1)).toBe("saved");
  });

  it("sends what was undone after a lost answer, since the service may have made the change", async () => {
    const service = { parameters: { ...READ.parameters }, discrete: { ...READ.discrete } };
    let tries = 0;
    const [keeper, states] = saver(({ parameters, discrete }) => {
      Object.assign(service.parameters, parameters);
      Object.assign(service.discrete, discrete);
      return ++tries === 1 ? Promise.reject(new Error("away")) : Promise.resolve();
    });
    keeper.want({ parameters: { ...READ.parameters, nose: 0.9 }, discrete: { hair: "long" } });
    await vi.runAllTimersAsync();
    keeper.want(READ);
    expect(states.at(-1)).not.toBe("saved");
    await keeper.flush();
    expect([service, states.at(-1), tries]).toEqual([READ, "saved", 2]);
  });

  it("tries by itself what may pass, later each time", async () => {
    let tries = 0;
    const send = (): Promise<unknown> => (++tries < 3 ? Promise.reject(new Error("away")) : Promise.resolve());
    const keeper = new Saver(
      READ,
      send,
      () => undefined,
      () => true,
    );
    keeper.want({ ...READ, discrete: { hair: "long" } });
    await vi.advanceTimersByTimeAsync(900);
    expect(tries).toBe(1);
    await vi.advanceTimersByTimeAsync(4_000);
    expect(tries).toBe(2);
    await vi.advanceTimersByTimeAsync(7_900);
    expect(tries).toBe(2);
    await vi.runAllTimersAsync();
    expect(tries).toBe(3);
  });

  it("sends what changed while it was sending", async () => {
    const sent: Difference[] = [];
    const [keeper] = saver(async (edit) => {
      sent.push(edit);
      if (sent.length === 1) keeper.want({ ...READ, discrete: { hair: "bob" } });
      await Promise.resolve();
    });
    keeper.want({ ...READ, discrete: { hair: "long" } });
    await vi.runAllTimersAsync();
    expect(sent.map(({ discrete }) => discrete["hair"])).toEqual(["long", "bob"]);
  });
});
