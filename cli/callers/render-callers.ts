import type { CallerPolicyFile } from '../../gateway/caller-policy.ts';

/** Enough of a hash to tell keys apart and to name one for removal. */
const shownHashCharacters = 'sha256:'.length + 12;

/** A line a caller, its keys and certificates under it. */
export function renderCallers({ callers }: CallerPolicyFile): string {
  if (callers.length === 0) return 'There are no callers: everybody is refused.';
  return callers
    .flatMap(({ name, scopes, tenants, match = [], key_hashes: hashes = [] }) => [
      `${name}  ${scopes.join(',')}  tenants ${tenants === '*' ? '*' : tenants.join(',')}`,
      ...match.map((subject) => `  certificate ${subject}`),
      ...hashes.map((hash) => `  key ${hash.slice(0, shownHashCharacters)}`),
    ])
    .join('\n');
}
