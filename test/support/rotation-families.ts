/**
 * What becomes of a refresh token that was exchanged: S there is no other; L it goes on working beside
 * the new one; T it works for some seconds more, unless its successor is used; C it works until
 * something of a pair that it brought is used; X it is spent; F it is spent, and using it again revokes
 * the family. T outside its grace is as strict as F.
 */
export type ClassRule =
  { class: 'S' | 'L' | 'C' | 'X' | 'F' } | { class: 'T'; graceSeconds: number };

const purgeMinAccessTokens = 1_000;
const simpleClasses = ['S', 'L', 'C', 'X', 'F'] as const;

/** Ground truth of one connection, or of all. */
export interface RotationTruth {
  /** Refresh tokens exchanged for an access token, replays among them. */
  exchanges: number;
  /** Exchanges of a token that was exchanged before, in a class other than S, where that is no replay. */
  replays_allowed: number;
  /** Spent tokens that came again and were refused: reuse. */
  replays_forbidden: number;
  /** Those of `replays_forbidden` whose token had brought no answer that left. */
  replays_after_lost_answer: number;
  /** Families that ended because of reuse. */
  family_revocations: number;
  /** Exchanges whose answer never left. */
  answers_lost: number;
  live_refresh_tokens: number;
}

export interface RotationLedger {
  total: RotationTruth;
  connections: Record<string, RotationTruth & { class: string }>;
}

interface Family {
  connectionId: string;
  rule: ClassRule;
  accessTokenTtlSeconds: number | null;
  isEnded: boolean;
}

interface RefreshTokenState {
  family: Family;
  expiresAtMs: number;
  parent: RefreshTokenState | null;
  children: RefreshTokenState[];
  firstExchangedAtMs: number | null;
  exchanges: number;
  lostAnswers: number;
  /** Dead because something newer was used (C, T), or issued in its place (T). */
  isRetired: boolean;
}

interface AccessTokenState {
  family: Family;
  expiresAtMs: number;
  /** The refresh token that it was issued with. */
  pair: RefreshTokenState | null;
}

/** The rules of the rotation classes, apart from HTTP. All of it is synchronous, and so atomic. */
export interface RotationFamilies {
  addGrant(
    grantId: string,
    grant: { connectionId: string; rule: ClassRule; accessTokenTtlSeconds: number | null },
  ): void;
  ruleOf(grantId: string): ClassRule | undefined;
  accessTokenTtlSecondsOf(grantId: string): number | null;
  isEnded(grantId: string): boolean;
  /** A new refresh token; `parentId` is the one that was exchanged for it. */
  issueRefreshToken(
    id: string,
    grantId: string,
    expiresAtMs: number,
    parentId: string | null,
  ): void;
  issueAccessToken(id: string, grantId: string, expiresAtMs: number, pairId: string | null): void;
  /** Compare and set: whether the class allows this exchange now. Reuse ends the families of F and T. */
  exchange(refreshTokenId: string): boolean;
  /** The token endpoint has refused the token, for whatever reason. */
  countRefusal(refreshTokenId: string): void;
  countLostAnswer(refreshTokenId: string): void;
  /** A call of the provider's API. */
  useAccessToken(id: string): void;
  retire(refreshTokenId: string): void;
  /** Somebody has asked for the end of the family (RFC 7009). */
  end(grantId: string): void;
  /** Would a refresh token be exchanged now, an access token accepted? */
  isLive(id: string): boolean;
  ledger(): RotationLedger;
}

export function createRotationFamilies(nowMs: () => number): RotationFamilies {
  const families = new Map<string, Family>();
  const refreshTokens = new Map<string, RefreshTokenState>();
  const accessTokens = new Map<string, AccessTokenState>();
  const truths = new Map<string, RotationTruth & { class: string }>();
  let purgeAtAccessTokens = purgeMinAccessTokens;

  const isUsable = ({ family, expiresAtMs }: RefreshTokenState | AccessTokenState): boolean =>
    !family.isEnded && expiresAtMs > nowMs();

  function isExchangeable(token: RefreshTokenState): boolean {
    if (!isUsable(token) || token.isRetired) return false;
    const { rule } = token.family;
    switch (rule.class) {
      case 'S':
      case 'L':
      case 'C':
        return true;
      case 'X':
      case 'F':
        return token.firstExchangedAtMs === null;
      case 'T':
        return (
          token.firstExchangedAtMs === null ||
          nowMs() < token.firstExchangedAtMs + 1_000 * rule.graceSeconds
        );
    }
  }

  function truthOf({ connectionId, rule }: Family): RotationTruth {
    const truth = truths.get(connectionId) ?? { ...noTruth(), class: classLabel(rule) };
    truths.set(connectionId, truth);
    return truth;
  }

  /** What was issued before this token, or beside it, is dead from now on. */
  function retireOthers(token: RefreshTokenState): void {
    if (token.parent === null) return;
    token.parent.isRetired = true;
    retireSiblings(token);
  }

  function retireSiblings(token: RefreshTokenState): void {
    for (const sibling of token.parent?.children ?? []) {
      if (sibling !== token) sibling.isRetired = true;
    }
  }

  function purgeExpired(): void {
    for (const [id, { expiresAtMs }] of accessTokens) {
      if (expiresAtMs <= nowMs()) accessTokens.delete(id);
    }
    purgeAtAccessTokens = 2 * accessTokens.size + purgeMinAccessTokens;
  }

  const refreshTokenOf = (id: string | null): RefreshTokenState | null =>
    id === null ? null : (refreshTokens.get(id) ?? null);
  const familyOf = (grantId: string): Family => {
    const family = families.get(grantId);
    if (family === undefined) throw new Error('A token is of no known grant.');
    return family;
  };

  return {
    addGrant(grantId, { connectionId, rule, accessTokenTtlSeconds }) {
      const family = { connectionId, rule, accessTokenTtlSeconds, isEnded: false };
      families.set(grantId, family);
      truths.set(connectionId, { ...truthOf(family), class: classLabel(rule) });
    },
    ruleOf: (grantId) => families.get(grantId)?.rule,
    accessTokenTtlSecondsOf: (grantId) => families.get(grantId)?.accessTokenTtlSeconds ?? null,
    isEnded: (grantId) => families.get(grantId)?.isEnded !== false,
    issueRefreshToken(id, grantId, expiresAtMs, parentId) {
      const parent = refreshTokenOf(parentId);
      const token: RefreshTokenState = {
        family: familyOf(grantId),
        expiresAtMs,
        parent,
        children: [],
        firstExchangedAtMs: null,
        exchanges: 0,
        lostAnswers: 0,
        // A sibling was used while this one was under way.
        isRetired: parent?.isRetired ?? false,
      };
      refreshTokens.set(id, token);
      parent?.children.push(token);
      // Class T: the latest answer wins, as at WSO2; storing an earlier one shows in the next refresh.
      if (token.family.rule.class === 'T' && !token.isRetired) retireSiblings(token);
    },
    issueAccessToken(id, grantId, expiresAtMs, pairId) {
      if (accessTokens.size >= purgeAtAccessTokens) purgeExpired();
      accessTokens.set(id, {
        family: familyOf(grantId),
        expiresAtMs,
        pair: refreshTokenOf(pairId),
      });
    },
    exchange(id) {
      const token = refreshTokens.get(id);
      if (token === undefined) return false;
      const { family, firstExchangedAtMs } = token;
      const truth = truthOf(family);
      if (!isExchangeable(token)) {
        const isReuse = firstExchangedAtMs !== null && !family.isEnded;
        if (isReuse && (family.rule.class === 'F' || family.rule.class === 'T')) {
          family.isEnded = true;
          truth.family_revocations += 1;
        }
        return false;
      }
      truth.exchanges += 1;
      token.exchanges += 1;
      if (firstExchangedAtMs === null) token.firstExchangedAtMs = nowMs();
      else if (family.rule.class !== 'S') truth.replays_allowed += 1;
      if (family.rule.class === 'C' || family.rule.class === 'T') retireOthers(token);
      return true;
    },
    countRefusal(id) {
      const token = refreshTokens.get(id);
      if (token === undefined || token.firstExchangedAtMs === null) return;
      const truth = truthOf(token.family);
      truth.replays_forbidden += 1;
      if (token.lostAnswers === token.exchanges) truth.replays_after_lost_answer += 1;
    },
    countLostAnswer(id) {
      const token = refreshTokens.get(id);
      if (token === undefined) return;
      token.lostAnswers += 1;
      truthOf(token.family).answers_lost += 1;
    },
    useAccessToken(id) {
      const pair = accessTokens.get(id)?.pair;
      if (pair?.family.rule.class === 'C') retireOthers(pair);
    },
    retire(id) {
      const token = refreshTokens.get(id);
      if (token !== undefined) token.isRetired = true;
    },
    end(grantId) {
      const family = families.get(grantId);
      if (family !== undefined) family.isEnded = true;
    },
    isLive(id) {
      const refreshToken = refreshTokens.get(id);
      if (refreshToken !== undefined) return isExchangeable(refreshToken);
      const accessToken = accessTokens.get(id);
      if (accessToken === undefined || !isUsable(accessToken)) return false;
      return accessToken.family.rule.class !== 'C' || accessToken.pair?.isRetired !== true;
    },
    ledger() {
      const connections = new Map(
        [...truths].map(([id, truth]) => [id, { ...truth, live_refresh_tokens: 0 }]),
      );
      for (const token of refreshTokens.values()) {
        const truth = connections.get(token.family.connectionId);
        if (truth !== undefined && isExchangeable(token)) truth.live_refresh_tokens += 1;
      }
      const total = [...connections.values()].reduce<RotationTruth>(addTruth, noTruth());
      return { total, connections: Object.fromEntries(connections) };
    },
  };
}

/** `F`, `T(30)`. */
export function classLabel(rule: ClassRule): string {
  return rule.class === 'T' ? `T(${rule.graceSeconds})` : rule.class;
}

/** The rule that `classLabel` names. */
export function parseClassLabel(label: string): ClassRule | undefined {
  const grace = /^T\((\d+(?:\.\d+)?)\)$/.exec(label)?.[1];
  if (grace !== undefined) return { class: 'T', graceSeconds: Number(grace) };
  return simpleClasses.filter((name) => name === label).map((name) => ({ class: name }))[0];
}

function noTruth(): RotationTruth {
  return {
    exchanges: 0,
    replays_allowed: 0,
    replays_forbidden: 0,
    replays_after_lost_answer: 0,
    family_revocations: 0,
    answers_lost: 0,
    live_refresh_tokens: 0,
  };
}

function addTruth(left: RotationTruth, right: RotationTruth): RotationTruth {
  const sum = noTruth();
  for (const name of Object.keys(sum) as (keyof RotationTruth)[])
    sum[name] = left[name] + right[name];
  return sum;
}
