import type { Scope } from '../../gateway/caller.ts';
import type { CallerPolicyFile, PolicyCaller } from '../../gateway/caller-policy.ts';
import { comparableSubject } from '../../gateway/caller-policy.ts';

/** What `callers add` was told. Undefined members leave an existing caller as it is. */
export interface CallerAddition {
  name: string;
  scopes: Scope[] | undefined;
  tenants: '*' | string[] | undefined;
  /** Names of client certificates. */
  match: string[];
  /** Of a key made for it; undefined: it comes with a certificate. */
  keyHash: string | undefined;
}

/**
 * Adds a caller, or to one of that name: its keys and certificates grow, scopes and tenants are
 * replaced. Throws where a new one has no scopes: nobody gets everything by leaving something out.
 */
export function addCaller(policy: CallerPolicyFile, addition: CallerAddition): CallerPolicyFile {
  const { name, scopes, tenants, match, keyHash } = addition;
  const before = policy.callers.find((caller) => caller.name === name);
  if (before === undefined && (scopes === undefined || tenants === undefined)) {
    throw new Error(
      `There is no caller ${name} yet: say what it may do with --scopes, and for whom with --tenants.`,
    );
  }
  const known = new Set((before?.match ?? []).map(comparableSubject));
  const matches = [
    ...(before?.match ?? []),
    ...match.filter((subject) => !known.has(comparableSubject(subject))),
  ];
  const hashes = [...(before?.key_hashes ?? []), ...(keyHash === undefined ? [] : [keyHash])];
  const after: PolicyCaller = {
    name,
    ...(matches.length > 0 && { match: matches }),
    ...(hashes.length > 0 && { key_hashes: hashes }),
    scopes: scopes ?? before?.scopes ?? [],
    tenants: tenants ?? before?.tenants ?? [],
  };
  return {
    ...policy,
    callers:
      before === undefined
        ? [...policy.callers, after]
        : policy.callers.map((caller) => (caller === before ? after : caller)),
  };
}

/** Without `keyHash` the whole caller goes. Throws for one that there is not. */
export function removeCaller(
  policy: CallerPolicyFile,
  name: string,
  keyHash: string | undefined,
): CallerPolicyFile {
  const caller = policy.callers.find((each) => each.name === name);
  if (caller === undefined) throw new Error(`There is no caller ${name}.`);
  const others = policy.callers.filter((each) => each !== caller);
  if (keyHash === undefined) return { ...policy, callers: others };
  const { key_hashes: hashes = [], ...rest } = caller;
  const gone = hashes.filter((hash) => hash.startsWith(keyHash));
  if (gone.length !== 1) {
    throw new Error(
      `${name} has ${gone.length} keys that begin with ${keyHash}: give more of one that ` +
        '`token-manager callers list` shows.',
    );
  }
  const left = hashes.filter((hash) => hash !== gone[0]);
  if (left.length + (rest.match ?? []).length === 0) {
    throw new Error(
      `That is the last key of ${name}: remove the caller itself, or add a key first.`,
    );
  }
  const after: PolicyCaller = { ...rest, ...(left.length > 0 && { key_hashes: left }) };
  return { ...policy, callers: policy.callers.map((each) => (each === caller ? after : each)) };
}
