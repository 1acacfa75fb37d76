package zk

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// stat is srvr with a line for each connection.
func (a *answer) stat() {
	a.printf("Zookeeper version: %s\nClients:\n", a.srv.version)
	for _, l := range a.connections() {
		if a.over() {
			return
		}
		a.printf("%s)\n", brief(l))
	}
	a.printf("\n")
	a.summary()
}

// cons shows all that is known of each connection.
func (a *answer) cons() {
	for _, l := range a.connections() {
		if a.over() {
			return
		}
		a.printf("%s\n", full(l))
	}
	a.printf("\n")
}

// crst begins the counters of all connections anew.
func (a *answer) crst() {
	for _, l := range a.srv.links() {
		l.conn.mu.Lock()
		l.conn.account = resetAccount()
		l.conn.mu.Unlock()
	}
	a.printf("Connection stats reset.\n")
}

// Interests of a connection, as java.nio.channels.SelectionKey has them.
const (
	interestRead  = 1
	interestWrite = 4
)

// brief describes a connection in short (org.apache.zookeeper.server.ServerCnxn.dumpConnectionInfo), less the closing
// parenthesis.
func brief(l *link) string {
	l.conn.mu.Lock()
	defer l.conn.mu.Unlock()
	return briefLocked(l)
}

// full describes a connection with all that is known of it.
func full(l *link) string {
	l.conn.mu.Lock()
	defer l.conn.mu.Unlock()
	c, acc := l.conn, &l.conn.account
	if c.caller.Session == 0 {
		return briefLocked(l) + ")"
	}
	ms := func(ns int64) int64 { return ns / int64(time.Millisecond) }
	var b strings.Builder
	fmt.Fprintf(&b, "%s,sid=0x%x,lop=%s,est=%d,to=%d", briefLocked(l), uint64(c.caller.Session), acc.operation, l.acceptedAt.UnixMilli(), c.timeoutMS)
	if acc.xid >= 0 {
		fmt.Fprintf(&b, ",lcxid=0x%x", acc.xid)
	}
	answered, mean := int64(0), int64(0)
	if acc.count > 0 {
		answered, mean = l.srv.epoch.UnixMilli()+ms(acc.atNS), acc.totalNS/acc.count
	}
	fmt.Fprintf(&b, ",lzxid=0x%x,lresp=%d,llat=%d,minlat=%d,avglat=%d,maxlat=%d)",
		uint64(acc.zxid), answered, ms(acc.last), ms(acc.shortest), ms(mean), ms(acc.longest))
	return b.String()
}

func briefLocked(l *link) string {
	c, interest := l.conn, 0
	if !l.answering && c.hasRoom() {
		interest |= interestRead
	}
	if l.sending || len(c.out.buf) > 0 {
		interest |= interestWrite
	}
	return fmt.Sprintf(" %s[%x](queued=%d,recved=%d,sent=%d", javaAddress(c.remote), interest, c.queue.len(), c.account.received, c.account.sent)
}

// javaAddress formats an address as java.net.InetSocketAddress does; IPv6 addresses are written out.
func javaAddress(a netip.AddrPort) string {
	if !a.IsValid() {
		return "null"
	}
	ip := a.Addr().Unmap()
	if ip.Is4() {
		return fmt.Sprintf("/%v:%d", ip, a.Port())
	}
	bytes, groups := ip.As16(), make([]string, 8)
	for i := range groups {
		groups[i] = fmt.Sprintf("%x", int(bytes[2*i])<<8|int(bytes[2*i+1]))
	}
	return fmt.Sprintf("/[%s]:%d", strings.Join(groups, ":"), a.Port())
}
