//! Spaces.

use serde_json::json;

use crate::support::each_world;

#[tokio::test]
async fn a_user_sees_his_spaces_and_who_is_there() {
    each_world(|world| async move {
        let spaces = world.ok("spaces_list", json!({})).await;
        let id = world.caller.membership.space.to_string();
        let expected = json!({
            "spaces": [{ "id": id, "name": "Anna", "slug": id, "type": "personal", "role": "owner" }],
            "activeSpaceId": id,
        });
        assert_eq!(spaces, expected);
        let members = world.ok("spaces_members", json!({})).await;
        let user = world.caller.principal.user_id.to_string();
        assert_eq!(members["spaceId"], id.as_str());
        assert_eq!(members["members"].as_array().expect("a list").len(), 1);
        assert_eq!((&members["members"][0]["userId"], &members["members"][0]["role"]), (&json!(user), &json!("owner")));
        assert_eq!(world.wrong_fields("spaces_list", json!({ "spaceId": id })).await, ["spaceId"]);
    })
    .await;
}
