import { LRUCache } from 'lru-cache';
import * as oauth from 'oauth4webapi';
import { importKeyPair } from './signing-key.ts';
import type { TokenAnswer } from './provider-answer.ts';
import type { RequestSources, TokenRequest } from './provider-request.ts';

const originsMax = 1_000;
/** RFC 9449 §8.1: what may stand in a scope token; the length is ours. */
const noncePattern = /^[\x21\x23-\x5b\x5d-\x7e]{1,1024}$/;
const msPerSecond = 1_000;

/** The newest nonce that each origin gave out (RFC 9449 §8.2); they are no secrets. */
export interface DpopNonces {
  newest(origin: string): string | undefined;
  observe(origin: string, answer: TokenAnswer): void;
}

/** Forgets the origins that were not asked for longest, beyond 1,000. */
export function createDpopNonces(): DpopNonces {
  const nonces = new LRUCache<string, string>({ max: originsMax });
  return {
    newest: (origin) => nonces.get(origin),
    observe(origin, answer) {
      const nonce = answer.kind === 'answer' ? answer.headers['dpop-nonce'] : undefined;
      if (nonce !== undefined && noncePattern.test(nonce)) nonces.set(origin, nonce);
    },
  };
}

/**
 * The proof of possession of one request (RFC 9449 §4.2), made with the connection's key. Null: there is
 * no key, or none that fits.
 */
export async function proveDpop(
  request: TokenRequest,
  url: URL,
  sources: RequestSources,
  nonce: string | undefined,
): Promise<oauth.DPoPHandle | null> {
  const { dpopKey, definition } = request;
  const alg = dpopKey?.type === 'RSA' ? 'RS256' : 'ES256';
  const keyPair = dpopKey && (await importKeyPair(dpopKey, alg));
  if (keyPair === null) return null;
  return oauth.DPoP({}, keyPair, {
    [oauth.modifyAssertion]: (_header, payload) => {
      payload['htm'] = definition.request.method;
      payload['htu'] = `${url.origin}${url.pathname}`;
      payload['iat'] = Math.floor(sources.wallMs() / msPerSecond);
      payload['jti'] = sources.randomUuid();
      if (nonce !== undefined) payload['nonce'] = nonce;
    },
  });
}
