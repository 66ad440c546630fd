import { describe, expect, it, vi } from "vitest";

import { patiently, Refused, Unreachable } from "../src/api/client";
import { messageFor, remarkMessage } from "../src/api/messages";
import { closedEyes } from "../src/viewer/head";
import { AdaptiveResolution } from "../src/viewer/adaptiveResolution";
import { photoSquare, viewerFov, sway } from "../src/viewer/framing";
import { canBeToldApart } from "../src/ui/choices";
import { valueInWords } from "../src/ui/slider";

describe("advice", () => {
  it("follows the problem's type, then the status, then says what can be done anyway", () => {
    expect(messageFor(new Refused(422, { type: "/problems/no-face" }, null)).title).toBe("No face found");
    expect(messageFor(new Refused(413, {}, null)).title).toBe("The photo is too large");
    expect(messageFor(new Refused(418, { title: "A teapot" }, null)).title).toBe("A teapot");
    expect(messageFor(new Unreachable("away")).again).toBe(true);
    expect(messageFor(new Error("bug")).title).not.toContain("bug");
  });

  it("says when a limit lets somebody in again", () => {
    const overLimit = (seconds: number): string =>
      messageFor(new Refused(429, { type: "/problems/over-limit" }, seconds)).advice;
    expect([20, 600, 43_000].map(overLimit)).toEqual([
      "Wait a minute, then try again.",
      "Try again in 10 minutes.",
      "Try again in 12 hours.",
    ]);
  });

  it("has a kind word for every remark, in the model's own words where it is new", () => {
    expect(remarkMessage({ code: "blurred", text: "the face is blurred" })).toContain("a little blurred");
    expect(remarkMessage({ code: "other", text: "sunglasses hide the eyes" })).toBe("Sunglasses hide the eyes.");
  });
});

describe("patience", () => {
  it("waits as long as the service says, counting down, and asks again", async () => {
    vi.useFakeTimers();
    const told: number[] = [];
    let asked = 0;
    const answer = patiently(
      () => (++asked < 2 ? Promise.reject(new Refused(429, {}, 3)) : Promise.resolve("here")),
      (seconds) => told.push(seconds),
      new AbortController().signal,
    );
    await vi.runAllTimersAsync();
    expect(await answer).toBe("here");
    expect(told).toEqual([3, 2, 1]);
    vi.useRealTimers();
  });

  it.each([
    ["that cannot help", new Refused(422, {}, 3)],
    ["it would take hours", new Refused(429, { type: "/problems/over-limit" }, 43_000)],
  ])("does not ask again where %s", async (_, refused) => {
    await expect(
      patiently(
        () => Promise.reject(refused),
        () => undefined,
        new AbortController().signal,
      ),
    ).rejects.toBe(refused);
  });
});

describe("a value in words", () => {
  it("says which end and how far", () => {
    const slider = { neutral: 0.5, low: "narrow", high: "wide" };
    expect([0.5, 0.75, 0].map((value) => valueInWords(slider, value))).toEqual(["average", "wide 50", "narrow 100"]);
    expect(valueInWords({ neutral: 0 }, 0.3)).toBe("+30");
    expect(valueInWords({ neutral: 0.25 }, 0.125)).toBe("−50");
  });
});

describe("the viewer", () => {
  it("shows in the photo's square what the game's camera shows", () => {
    expect(viewerFov(14, 500, 500)).toBeCloseTo(14);
    const fov = viewerFov(14, photoSquare(900, 700), 700);
    const [tan, degrees] = [Math.tan, Math.PI / 180];
    expect(tan((fov / 2) * degrees) * (photoSquare(900, 700) / 700)).toBeCloseTo(tan(7 * degrees));
  });

  it("begins to turn from where the head stands", () => {
    expect(sway(0)).toBe(0);
    expect(Math.abs(sway(0.05))).toBeLessThan(0.1);
  });

  it("has open eyes nearly always", () => {
    const closed = Array.from({ length: 1000 }, (_, at) => closedEyes(at / 50)).filter((share) => share > 0.5);
    expect(closed.length).toBeGreaterThan(0);
    expect(closed.length).toBeLessThan(60);
  });
});

describe("the adaptive resolution", () => {
  it("draws coarser while frames are late, and fine again once they are not", () => {
    const resolution = new AdaptiveResolution();
    let now = 0;
    const frames = (count: number, gap: number): number => {
      for (let frame = 0; frame < count; frame++) resolution.frame((now += gap));
      return resolution.share;
    };
    expect(frames(20, 16)).toBe(1);
    expect(frames(40, 120)).toBe(0.4);
    expect(frames(60, 10)).toBe(1);
  });

  it("takes a pause for no slow frame", () => {
    const resolution = new AdaptiveResolution();
    for (let now = 0; now < 60_000; now += 2000) resolution.frame(now);
    expect(resolution.share).toBe(1);
  });
});

describe("colours", () => {
  it("are shown as swatches only where eyes can tell all of them apart", () => {
    expect(canBeToldApart(["#5e3f31", "#7c5540", "#d6b19f"])).toBe(true);
    expect(canBeToldApart(["#150601", "#2a0d03", "#6095a8"])).toBe(false);
    expect(canBeToldApart(["#150601", null])).toBe(false);
    expect(canBeToldApart([null, "#150601"])).toBe(false);
  });
});
