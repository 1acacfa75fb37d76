package command

// Every kind has one implementation, and this is the list.
var (
	_ Command = (*Put)(nil)
	_ Command = (*Range)(nil)
	_ Command = (*DeleteRange)(nil)
	_ Command = (*Txn)(nil)
	_ Command = (*Compact)(nil)
	_ Command = (*LeaseGrant)(nil)
	_ Command = (*LeaseRevoke)(nil)
	_ Command = (*Alarm)(nil)
	_ Command = (*Create)(nil)
	_ Command = (*Delete)(nil)
	_ Command = (*SetData)(nil)
	_ Command = (*SetACL)(nil)
	_ Command = (*Check)(nil)
	_ Command = (*Multi)(nil)
	_ Command = (*OpenSession)(nil)
	_ Command = (*AttachSession)(nil)
	_ Command = (*CloseSession)(nil)
	_ Command = (*Bootstrap)(nil)
	_ Command = (*Expire)(nil)
	_ Command = (*Reap)(nil)
	_ Command = (*PublishMember)(nil)
	_ Command = (*ChangeMembers)(nil)
	_ Command = (*SetLevel)(nil)
)

// String names the kind, for metrics, logs and tests. An unknown kind is "unknown".
func (k Kind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return "unknown"
}

var kindNames = [...]string{
	KindPut:         "put",
	KindRange:       "range",
	KindDeleteRange: "delete_range",
	KindTxn:         "txn",
	KindCompact:     "compact",
	KindLeaseGrant:  "lease_grant",
	KindLeaseRevoke: "lease_revoke",
	KindAlarm:       "alarm",

	KindCreate:        "create",
	KindDelete:        "delete",
	KindSetData:       "set_data",
	KindSetACL:        "set_acl",
	KindCheck:         "check",
	KindMulti:         "multi",
	KindOpenSession:   "open_session",
	KindAttachSession: "attach_session",
	KindCloseSession:  "close_session",

	KindBootstrap: "bootstrap",
	KindExpire:    "expire",
	KindReap:      "reap",

	KindPublishMember: "publish_member",
	KindChangeMembers: "change_members",
	KindSetLevel:      "set_level",
}
