import { defineConfig } from "vitest/config";

// While working on the page: `likeness serve` in one terminal, `npm run dev` in another.
const SERVICE = "http://127.0.0.1:8000";

export default defineConfig({
  server: { proxy: { "/v1": SERVICE } },
  // The service's content security policy allows no data: fonts or scripts, so nothing is inlined.
  build: { assetsInlineLimit: 0, target: "es2022", chunkSizeWarningLimit: 900, modulePreload: { polyfill: false } },
  // Milliseconds; two cores may be busy.
  test: { include: ["tests/**/*.test.ts"], environment: "node", testTimeout: 120_000 },
});
