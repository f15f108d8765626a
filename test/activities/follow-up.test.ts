import { describe, expect, it } from 'vitest';
import { createClientSecretOrder, followUpAfter } from '../../activities/follow-up.ts';
import type { Failure } from '../../oauth/failure-class.ts';

const entry = {
  appId: 'a1',
  connectionId: 'c1',
  claimId: 'claim',
  gateId: null,
  isProven: false,
  isSuccessNews: false,
  isLeased: false,
  enteredAt: '',
};
const claim = {
  connectionId: 'c1',
  generation: 1,
  attempt: 4,
  claimedAt: new Date(0),
  replays: 0,
};
const failure = (failureClass: Failure['class'], code: string): Failure => ({
  kind: 'failure',
  class: failureClass,
  code,
  retryAfterSeconds: null,
  reason: null,
});
const refused = failure('misconfigured', 'invalid_client');
const ended = (judgement: Failure, secretCount = 2) => ({
  prepared: { secretCount },
  judgement,
  claim,
  entry,
});
const first = { replay: null, followUp: null };

describe('a second send in the same Activity', () => {
  it('shows the next client secret after one was refused, while there is one', () => {
    const second = followUpAfter(first, ended(refused));
    expect(second).toMatchObject({ secretsTried: 1, replayOf: null, entry });
    expect(followUpAfter({ replay: null, followUp: second }, ended(refused))).toBeNull();
    expect(followUpAfter(first, ended(refused, 1))).toBeNull();
  });

  it('brings the nonce that was demanded, once', () => {
    const demanded = failure('transient', 'use_dpop_nonce');
    const second = followUpAfter(first, ended(demanded));
    expect(second).toMatchObject({ hasNonce: true, secretsTried: 0 });
    expect(followUpAfter({ replay: null, followUp: second }, ended(demanded))).toBeNull();
  });

  it('takes over the ambiguity that the first one put back', () => {
    expect(followUpAfter({ replay: {}, followUp: null }, ended(refused))?.replayOf).toBe(4);
  });

  it.each([
    failure('permanent', 'invalid_grant'),
    failure('ambiguous', 'ECONNRESET'),
    failure('misconfigured', 'invalid_scope'),
    failure('transient', 'http_503'),
  ])('does not follow $code', (judgement) => {
    expect(followUpAfter(first, ended(judgement))).toBeNull();
  });
});

describe('client secrets', () => {
  const app = { id: 'a1', generation: 3 };

  it('are tried in their order', () => {
    const order = createClientSecretOrder();
    expect([0, 1, 2].map((tried) => order.index(app, tried, 3))).toEqual([0, 1, 2]);
  });

  it('begin with the one that worked last, until the list changes', () => {
    const order = createClientSecretOrder();
    order.worked(app, 1);
    expect([0, 1, 2].map((tried) => order.index(app, tried, 3))).toEqual([1, 0, 2]);
    expect(order.index({ ...app, generation: 4 }, 0, 3)).toBe(0);
  });
});
