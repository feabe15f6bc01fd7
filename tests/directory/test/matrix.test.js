// The Matrix SDK's own calls of an identity server, from the OpenID token to who is found.

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { MatrixError, SERVICE_TYPES } from 'matrix-js-sdk'
import { Homeserver } from '../lib/homeserver.js'
import { asAccount, enrol, startDirectory } from '../lib/directory.js'

// For fiction (ATIS-0300115), and as Matrix writes them.
const NUMBERS = ['+12125550101', '+12125550102', '+12125550103']
const MSISDNS = NUMBERS.map((number) => number.slice(1))
const ON = { ACQUAINT_MATRIX__ENABLED: 'true', ACQUAINT_MATRIX__HOMESERVERS: '*', ACQUAINT_MATRIX__ALLOW_PRIVATE_ADDRESSES: 'true' }

/** Registers as Element does; gives the identity server's token. */
async function register(client) {
  const { token } = await client.registerWithIdentityServer(await client.getOpenIdToken())
  return token
}

async function refused(call, status, errcode) {
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof MatrixError, String(error))
    assert.deepEqual([error.httpStatus, error.errcode], [status, errcode], String(error))
    return true
  })
}

describe('the Matrix SDK', () => {
  let homeserver, server, alice, bob, token

  before(async () => {
    homeserver = await Homeserver.start()
    server = await startDirectory(ON)
    alice = homeserver.id('alice')
    bob = homeserver.client('bob', server.url)
    await enrol(server, alice, NUMBERS[0])
    await enrol(server, alice, 'alice@example.com')
    await enrol(server, homeserver.id('carol'), NUMBERS[1])
    // Listed, and no account of Matrix.
    await enrol(server, 'dora', NUMBERS[2])
  })
  after(async () => {
    await homeserver.end()
    await server.end()
  })

  it('registers with an OpenID token of the homeserver', async () => {
    token = await register(bob)
    assert.deepEqual(await bob.getIdentityAccount(token), { user_id: homeserver.id('bob') })
  })

  it('reads terms, of which there are none to agree to', async () => {
    assert.deepEqual(await bob.getTerms(SERVICE_TYPES.IS, server.url), { policies: {} })
    assert.deepEqual(await bob.agreeToTerms(SERVICE_TYPES.IS, server.url, token, []), {})
  })

  it('prefers the hash, because there is nothing else', async () => {
    const { algorithms, lookup_pepper: pepper } = await bob.getIdentityHashDetails(token)
    assert.deepEqual(algorithms, ['sha256'])
    assert.match(pepper, /^[0-9A-Za-z]{16,}$/)
  })

  it('finds who is listed, as the address book writes them', async () => {
    const book = [
      [MSISDNS[0], 'msisdn'],
      ['Alice@Example.com', 'email'],
      ['nobody@example.com', 'email'],
      [MSISDNS[1], 'msisdn'],
      [MSISDNS[2], 'msisdn'],
      ['', 'email'],
      ['constructor', 'msisdn'],
    ]
    const found = await bob.identityHashedLookup(book, token)
    const byAddress = Object.fromEntries(found.map(({ address, mxid }) => [address, mxid]))
    assert.equal(found.length, 3)
    assert.deepEqual(byAddress, {
      [MSISDNS[0]]: alice,
      'Alice@Example.com': alice,
      [MSISDNS[1]]: homeserver.id('carol'),
    })
    assert.deepEqual(await bob.identityHashedLookup([], token), [])
  })

  it('finds one, and many, by the calls of the version before', async () => {
    const one = await bob.lookupThreePid('msisdn', MSISDNS[0], token)
    assert.deepEqual(one, { address: MSISDNS[0], medium: 'msisdn', mxid: alice })
    assert.deepEqual(await bob.lookupThreePid('email', 'nobody@example.com', token), {})
    const many = await bob.bulkLookupThreePids(
      [
        ['email', 'alice@example.com'],
        ['msisdn', MSISDNS[2]],
        ['msisdn', MSISDNS[1]],
      ],
      token,
    )
    assert.deepEqual(many.threepids.toSorted(), [
      ['email', 'alice@example.com', alice],
      ['msisdn', MSISDNS[1], homeserver.id('carol')],
    ])
  })

  it('does not find who has withdrawn', async () => {
    const { withdrawn } = await asAccount(server, alice, 'DELETE', '/v1/directory/listings')
    assert.equal(withdrawn, 2)
    const found = await bob.identityHashedLookup([[MSISDNS[0], 'msisdn'], ['alice@example.com', 'email']], token)
    assert.deepEqual(found, [])
  })

  it('understands each refusal', async () => {
    await refused(bob.identityHashedLookup([[MSISDNS[0], 'msisdn']], 'forged'), 401, 'M_UNAUTHORIZED')
    await refused(bob.getIdentityAccount(`${token}A`), 401, 'M_UNAUTHORIZED')
    const unknown = { ...(await bob.getOpenIdToken()), access_token: 'unknown' }
    await refused(bob.registerWithIdentityServer(unknown), 401, 'M_UNAUTHORIZED')
    // Speaks for an account of another homeserver.
    await refused(bob.registerWithIdentityServer(homeserver.openId('@alice:example.org')), 401, 'M_UNAUTHORIZED')
    const elsewhere = { ...homeserver.openId(alice), matrix_server_name: 'example.org/path' }
    await refused(bob.registerWithIdentityServer(elsewhere), 400, 'M_INVALID_PARAM')
    const whole = Array.from({ length: 1001 }, (_, n) => [`1212555${n}`, 'msisdn'])
    await refused(bob.identityHashedLookup(whole, token), 400, 'M_INVALID_PARAM')
    // Binding is the directory's own affair.
    await refused(bob.requestEmailToken('a@example.com', 'secret', 1, undefined, token), 404, 'M_UNRECOGNIZED')
  })

  it('is told when to come again', async () => {
    const carol = homeserver.client('erin', server.url)
    const own = await register(carol)
    const book = (from, to) => Array.from({ length: to - from }, (_, n) => [`1999${from + n}`, 'msisdn'])
    assert.deepEqual(await carol.identityHashedLookup(book(0, 50), own), [])
    await assert.rejects(carol.identityHashedLookup(book(50, 51), own), (error) => {
      assert.deepEqual([error.httpStatus, error.errcode], [429, 'M_LIMIT_EXCEEDED'])
      assert.ok(error.isRateLimitError())
      // Fifty a day: one in 1728 seconds.
      const wait = error.getRetryAfterMs()
      assert.ok(wait > 1_700_000 && wait <= 1_728_000, String(wait))
      return true
    })
  })

  it('was warned about in the log', () => {
    assert.match(server.log, /WARN.*`matrix\.enabled`: this service can read every phone number that is asked for/)
  })
})

describe('a server that was not told to', () => {
  it('is no identity server, and warns of nothing', async () => {
    const homeserver = await Homeserver.start()
    const server = await startDirectory({})
    try {
      const client = homeserver.client('bob', server.url)
      await refused(register(client), 404, 'M_UNRECOGNIZED')
      await refused(client.getIdentityHashDetails('any'), 404, 'M_UNRECOGNIZED')
      assert.doesNotMatch(server.log, /enabled`/)
    } finally {
      await homeserver.end()
      await server.end()
    }
  })
})
