/** Shows likeness in a frame, gives it the player's token, and takes the character that the player is content with. */
const frame = document.querySelector("iframe");
const said = document.querySelector("#said");
let service;

async function giveToken() {
  const answer = await fetch("/token", { method: "POST" });
  const { token } = await answer.json();
  frame.contentWindow.postMessage({ type: "likeness:token", token }, service);
}

addEventListener("message", async (event) => {
  if (event.source !== frame.contentWindow || event.origin !== service) return;
  switch (event.data.type) {
    case "likeness:ready":
      said.value = "choose a photo";
      break;
    case "likeness:token-wanted":
      await giveToken();
      break;
    case "likeness:changed":
      said.value = `${event.data.id}, not yet chosen`;
      break;
    case "likeness:done":
      // The game's server asks the service for the document by itself: what a browser says can be made up.
      await fetch("/hero", { method: "POST", body: JSON.stringify({ id: event.data.id }) });
      said.value = `${event.data.id} is your hero`;
      break;
    case "likeness:erased":
      said.value = "erased";
  }
});

service = (await (await fetch("/service")).json()).origin;
frame.src = `${service}/`;
