import { vi } from 'vitest';

/**
 * What a test waits for comes at once, but not on a machine that has other work to do: Vitest's own limit of
 * a second made tests fail that had nothing wrong. It has no setting for these two, only for `expect.poll`.
 */
const patience = { timeout: 10_000 };
const { waitFor, waitUntil } = vi;

vi.waitFor = (check, options) => waitFor(check, withPatience(options));
vi.waitUntil = (check, options) => waitUntil(check, withPatience(options));

function withPatience(options: Parameters<typeof waitFor>[1]): Parameters<typeof waitFor>[1] {
  return typeof options === 'number' ? options : { ...patience, ...options };
}
