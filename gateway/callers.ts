import { hash, timingSafeEqual } from 'node:crypto';
import { TokenManagerError } from '../client/contract.ts';
import { scopes, type Caller } from './caller.ts';
import { comparableSubject, type CallerPolicy } from './caller-policy.ts';
import type { ClientIdentity } from './gateway-env.ts';
import { loggableText } from './loggable-text.ts';

const nameMaxCharacters = 100;
/** Longer than any key that was made here. */
const keyMaxCharacters = 256;
/** One key may be written with any number of spaces around it. */
const acceptedHeadersMax = 1_000;
const bearerPattern = /^Bearer +([\x21-\x7e]+) *$/i;
/** Compared with where no caller has the key, so that both ways do the same work. */
const nobody = Buffer.alloc(32);

/** What a request brings to say who asks. */
export interface Credentials {
  clientIdentity: ClientIdentity | null;
  /** The header of that name. */
  authorization: string | undefined;
}

export interface Callers {
  /** Throws `unauthenticated`. */
  identify(credentials: Credentials): Caller;
  /** WWW-Authenticate of a 401 (RFC 9110 section 11.6.1, RFC 6750 section 3). */
  challenge(credentials: Credentials): string;
}

/** No policy, and not mtls: whoever reaches the service may do everything. */
export function createAnonymousCallers(): Callers {
  const anonymous: Caller = { name: 'anonymous', scopes: new Set(scopes), tenants: null };
  return { identify: () => anonymous, challenge: () => 'Bearer realm="token-manager"' };
}

/** Bearer keys, by the policy in force. */
export function createKeyCallers(policy: () => CallerPolicy): Callers {
  // Headers that were accepted, so at most a few for each key of the policy: the hash costs a read from memory a
  // tenth of its time. A Map compares a header only with one of the same seeded hash, so its timing tells nothing.
  let accepted: { policy: CallerPolicy; callers: Map<string, Caller> } | undefined;

  function remembered(current: CallerPolicy): Map<string, Caller> {
    if (accepted?.policy !== current || accepted.callers.size >= acceptedHeadersMax) {
      accepted = { policy: current, callers: new Map() };
    }
    return accepted.callers;
  }

  return {
    identify({ authorization }) {
      const current = policy();
      const known = remembered(current);
      const before = authorization === undefined ? undefined : known.get(authorization);
      if (before !== undefined) return before;
      const key = authorization === undefined ? undefined : bearerPattern.exec(authorization)?.[1];
      if (key === undefined) {
        throw unauthenticated('The request needs Authorization: Bearer and a key.');
      }
      const caller = findByKey(current, key);
      if (caller === undefined) throw unauthenticated('The key is not one of a caller.');
      known.set(authorization ?? '', caller);
      return caller;
    },
    challenge: ({ authorization }) =>
      authorization === undefined
        ? 'Bearer realm="token-manager"'
        : 'Bearer realm="token-manager", error="invalid_token"',
  };
}

/**
 * Client certificates, by the policy in force; without one every certificate that was accepted in the
 * handshake may read and refresh the tokens, and read the connections, of all tenants.
 */
export function createCertificateCallers(policy: (() => CallerPolicy) | undefined): Callers {
  // Whom a certificate stands for is looked up once a connection and policy.
  let known: { policy: CallerPolicy | undefined; callers: WeakMap<ClientIdentity, Caller> };
  const forget = (current: CallerPolicy | undefined) => {
    known = { policy: current, callers: new WeakMap() };
  };
  forget(policy?.());

  function find(identity: ClientIdentity): Caller | undefined {
    const current = policy?.();
    if (current !== known.policy) forget(current);
    const before = known.callers.get(identity);
    if (before !== undefined) return before;
    const caller =
      current === undefined ? acceptedCaller(identity) : findBySubject(current, identity);
    if (caller !== undefined) known.callers.set(identity, caller);
    return caller;
  }

  return {
    identify({ clientIdentity, authorization }) {
      if (authorization !== undefined) {
        throw unauthenticated(
          'Callers are known by their client certificate: send no Authorization.',
        );
      }
      const caller = clientIdentity === null ? undefined : find(clientIdentity);
      if (caller === undefined)
        throw unauthenticated('The client certificate is not that of a caller.');
      return caller;
    },
    challenge: () => 'ClientCertificate realm="token-manager"',
  };
}

/** `sha256:` and the hexadecimal digest, as a policy holds it. */
export function keyHashOf(key: string): string {
  return `sha256:${hash('sha256', key, 'hex')}`;
}

/**
 * By its SHA-256: the keys are random and of 256 bits, so a slow hash would add nothing but time to
 * every request. The look-up compares digests, of which a caller can choose none, so its timing tells
 * nothing about a key; the comparison that decides is of constant time all the same.
 */
function findByKey({ byKeyHash }: CallerPolicy, key: string): Caller | undefined {
  if (key.length > keyMaxCharacters) return undefined;
  const digest = hash('sha256', key, 'buffer');
  const found = byKeyHash.get(digest.toString('hex'));
  return timingSafeEqual(digest, found?.digest ?? nobody) ? found?.caller : undefined;
}

/** Where several callers match, the one that stands first in the file. */
function findBySubject({ bySubject }: CallerPolicy, { subjects }: ClientIdentity) {
  const entries = subjects.flatMap((subject) => bySubject.get(comparableSubject(subject)) ?? []);
  return entries.toSorted((a, b) => a.place - b.place)[0]?.caller;
}

const acceptedScopes = new Set(['tokens:read', 'tokens:refresh', 'connections:read'] as const);

function acceptedCaller({ subjects }: ClientIdentity): Caller | undefined {
  const [subject] = subjects;
  if (subject === undefined) return undefined;
  return { name: loggableText(subject, nameMaxCharacters), scopes: acceptedScopes, tenants: null };
}

function unauthenticated(detail: string): TokenManagerError {
  return new TokenManagerError('unauthenticated', { detail });
}
