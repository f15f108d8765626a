// Prints the path of the Chromium, fetched if need be; a process of its own, for fetching blocks.
import { findChromium } from './chromium.mjs';
import { root, runDeployCheck } from './deploy-check.mjs';

await runDeployCheck(() => console.log(findChromium(root)));
