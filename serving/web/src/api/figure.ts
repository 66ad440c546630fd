/** Files of the figure: nobody's own, so they need no key and stay in the browser's cache. */

const PATIENCE = 6;
const BETWEEN_TRIES = 1000;

/** The file at an address; asked for again while the engine is busy. Throws an Error when it does not come. */
export async function figureFile(address: string): Promise<Response> {
  for (let tries = 1; ; tries++) {
    const answer = await fetch(address);
    if (answer.ok) return answer;
    if (answer.status !== 503 || tries === PATIENCE) throw new Error(`${address} was answered with ${answer.status}`);
    const seconds = Number.parseFloat(answer.headers.get("Retry-After") ?? "");
    await new Promise((resolve) => setTimeout(resolve, Number.isFinite(seconds) ? 1000 * seconds : BETWEEN_TRIES));
  }
}
