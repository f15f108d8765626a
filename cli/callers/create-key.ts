import { randomBytes } from 'node:crypto';

const keyBytes = 32;
/** So that scanners for secrets find one that was published. */
const prefix = 'tmk_';

/** A bearer key of 256 random bits. */
export function createKey(): string {
  return `${prefix}${randomBytes(keyBytes).toString('base64url')}`;
}
